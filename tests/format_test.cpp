// SPDX-License-Identifier: MIT
#include "uffd/format.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fmt/std.h>
#include <gtest/gtest.h>

#include <chrono>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "uffd/handle.hpp"

namespace uffd {
namespace {

TEST(format, flags_and_single_flags) {
  EXPECT_EQ(fmt::format("{}", feature::move | feature::poison), "poison|move");
  EXPECT_EQ(fmt::format("{}", flags<register_mode>()), "none");
  EXPECT_EQ(fmt::format("{}", feature::wp_async), "wp_async");
  EXPECT_EQ(fmt::format("{}", register_mode::missing), "missing");
  EXPECT_EQ(fmt::format("{}", range_ioctl::continue_), "continue");
  EXPECT_EQ(fmt::format("{}", fill_mode::dont_wake), "dont_wake");
  EXPECT_EQ(fmt::format("{}", move_mode::allow_source_holes), "allow_source_holes");
  EXPECT_EQ(fmt::format("{}", wake_mode::dont_wake), "dont_wake");
  EXPECT_EQ(fmt::format("{}", fault_flag::write), "write");
  EXPECT_EQ(fmt::format("{}", static_cast<feature>(1ULL << 40)), "0x10000000000");
}

TEST(format, page_range) {
  EXPECT_EQ(fmt::format("{}", page_range(0x1000, 0x2000)), "[0x1000, 0x3000)");
}

TEST(format, takes_the_options_of_a_string) {
  EXPECT_EQ(fmt::format("{:>8}|{:<8}|{:-^8}", register_mode::minor, fault_kind::minor,
                        flags(feature::move)),
            "   minor|minor   |--move--");
}

TEST(format, condition) {
  EXPECT_EQ(fmt::format("{} {}", condition::retry, condition::already_present),
            "retry already_present");
  EXPECT_EQ(fmt::format("{} {}", condition::not_registered, condition::target_gone),
            "not_registered target_gone");
}

TEST(format, outcome_tells_what_was_done_and_what_ended_it) {
  const auto words = [](int number) {
    return std::error_code(number, std::system_category()).message();
  };
  EXPECT_EQ(fmt::format("{}", outcome{4096, 0}), "4096 bytes");
  EXPECT_EQ(fmt::format("{}", outcome{0, EEXIST}), words(EEXIST));
  EXPECT_EQ(fmt::format("{}", outcome{4096, EAGAIN}), "4096 bytes, then: " + words(EAGAIN));
}

TEST(format, page_fault_reads_like_a_sentence) {
  EXPECT_EQ(fmt::format("{}", page_fault{0x7f0000001000, fault_flag::write, 123}),
            "missing write at 0x7f0000001000 (thread 123)");
  EXPECT_EQ(fmt::format("{}", page_fault{0x1000, {}, {}}), "missing read at 0x1000");
  EXPECT_EQ(
      fmt::format("{}", page_fault{0x1000, fault_flag::write | fault_flag::write_protect, {}}),
      "write_protect write at 0x1000");
  EXPECT_EQ(fmt::format("{}", page_fault{0x1000, fault_flag::minor, {}}), "minor read at 0x1000");
  EXPECT_EQ(fmt::format("{}", page_fault{0x1000, flags<fault_flag>::from_bits(0x100), {}}),
            "missing read at 0x1000 with flags 0x100");
}

TEST(format, every_event_alone_and_in_the_variant) {
  const std::vector<std::pair<event, std::string>> expected{
      {page_fault{0x1000, {}, {}}, "missing read at 0x1000"},
      {fork_event{7}, "fork (descriptor 7)"},
      {remap_event{{0x1000, 0x1000}, 0x9000}, "remap of [0x1000, 0x2000) to 0x9000"},
      {remove_event{{0x1000, 0x1000}}, "remove of [0x1000, 0x2000)"},
      {unmap_event{{0x1000, 0x1000}}, "unmap of [0x1000, 0x2000)"},
      {unknown_event{0x77, {}}, "unknown event 0x77"},
  };
  for (const auto& [any, text] : expected) {
    EXPECT_EQ(fmt::format("{}", any), text);
    EXPECT_EQ(std::visit([](const auto& one) { return fmt::format("{}", one); }, any), text);
  }
}

TEST(format, fault_kind) {
  EXPECT_EQ(fmt::format("{} {} {} {}", fault_kind::missing, fault_kind::minor,
                        fault_kind::write_protect, fault_kind::read_write_protect),
            "missing minor write_protect read_write_protect");
}

TEST(format, resolution) {
  EXPECT_EQ(fmt::format("{} {} {} {}", resolution::resolved(), resolution::retry(),
                        resolution::gone(), resolution::deferred()),
            "resolved retry gone deferred");
  EXPECT_EQ(fmt::format("{}", resolution(std::errc::io_error)),
            "failed: " + std::make_error_code(std::errc::io_error).message());
  EXPECT_EQ(fmt::format("{}", resolution::state::failed), "failed");
}

TEST(format, region_info) {
  const region_info info{
      {0x1000, 0x2000}, 4096, register_mode::missing, range_ioctl::copy | range_ioctl::wake, 5};
  EXPECT_EQ(fmt::format("{}", info),
            "[0x1000, 0x3000) of 4096 byte pages for missing, offering wake|copy, tag 5");
}

TEST(format, policies_and_options) {
  EXPECT_EQ(fmt::format("{} {}", close_policy::inaccessible, close_policy::leave_zero),
            "inaccessible leave_zero");
  EXPECT_EQ(fmt::format("{} {}", memory_owner::this_process, memory_owner::another_process),
            "this_process another_process");
  EXPECT_EQ(fmt::format("{} {} {}", kernel_fault_policy::if_permitted,
                        kernel_fault_policy::required, kernel_fault_policy::never),
            "if_permitted required never");
  EXPECT_EQ(fmt::format("{} {} {}", open_path::device_then_system_call, open_path::device,
                        open_path::system_call),
            "device_then_system_call device system_call");
  EXPECT_EQ(fmt::format("{}", open_options{.required = feature::move}),
            "required move, optional none, kernel faults if_permitted, via "
            "device_then_system_call");
}

TEST(format, handler_values) {
  EXPECT_EQ(fmt::format("{} {} {}", stop_policy::inaccessible, stop_policy::hand_over,
                        stop_policy::leave_zero),
            "inaccessible hand_over leave_zero");
  EXPECT_EQ(fmt::format("{} {}", fork_policy::follow, fork_policy::not_inherited),
            "follow not_inherited");
  latency_histogram latencies;
  latencies.record(std::chrono::nanoseconds(5));
  EXPECT_EQ(fmt::format("{}", latencies), "1 in all, p50 5 ns, p99 5 ns, max 5 ns");
  handler_statistics counted;
  counted.missing = 2;
  counted.latency = latencies;
  const auto text = fmt::format("{}", counted);
  EXPECT_EQ(text.find("faults: 2 missing"), 0U);
  EXPECT_NE(text.find("max 5 ns"), std::string::npos);
}

TEST(format, support_is_its_table) {
  const auto found = support::query();
  EXPECT_EQ(fmt::format("{}", found), found.table());
}

TEST(format, values_out_of_range_are_named_so) {
  EXPECT_EQ(fmt::format("{}", static_cast<condition>(99)), "unknown condition");
  EXPECT_EQ(fmt::format("{}", static_cast<fault_kind>(99)), "unknown kind");
  EXPECT_EQ(fmt::format("{}", static_cast<kernel_fault_policy>(99)), "unknown policy");
  EXPECT_EQ(fmt::format("{}", static_cast<open_path>(99)), "unknown path");
  EXPECT_EQ(fmt::format("{}", static_cast<resolution::state>(99)), "unknown state");
}

}  // namespace
}  // namespace uffd
