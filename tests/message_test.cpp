// SPDX-License-Identifier: MIT
#include "uffd/message.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <variant>

#include "support/descriptors.hpp"
#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/messages.hpp"
#include "support/requires.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using std::get;

static_assert(std::is_trivially_copyable_v<event>);
static_assert(noexcept(decode(uapi::message{}, {})));

fault_kind kind_of(std::uint64_t cause) {
  return page_fault{0, flags<fault_flag>::from_bits(cause), {}}.kind();
}

TEST(page_fault, kind_follows_from_the_flags_measured) {
  EXPECT_EQ(kind_of(0x0), fault_kind::missing);
  EXPECT_EQ(kind_of(0x1), fault_kind::missing);
  EXPECT_EQ(kind_of(0x3), fault_kind::write_protect);
  EXPECT_EQ(kind_of(0x4), fault_kind::minor);
  EXPECT_EQ(kind_of(0x5), fault_kind::minor);
  EXPECT_EQ(kind_of(0x8), fault_kind::read_write_protect);
  EXPECT_EQ(kind_of(0x9), fault_kind::read_write_protect);
}

TEST(page_fault, is_a_write_if_the_kernel_says_so) {
  EXPECT_FALSE((page_fault{0, {}, {}}.is_write()));
  EXPECT_TRUE((page_fault{0, fault_flag::write | fault_flag::write_protect, {}}.is_write()));
}

TEST(decode, page_fault_has_address_and_cause) {
  const auto fault = get<page_fault>(decode(test::fault_message(0x7f0000001000, 3), {}));
  EXPECT_EQ(fault.address, 0x7f0000001000u);
  EXPECT_EQ(fault.cause, fault_flag::write | fault_flag::write_protect);
}

TEST(decode, page_fault_keeps_flags_without_a_name) {
  const auto fault = get<page_fault>(decode(test::fault_message(0, 0x101), {}));
  EXPECT_EQ(fault.cause.bits(), 0x101u);
}

TEST(decode, page_fault_names_its_thread_only_where_that_was_negotiated) {
  const auto raw = test::fault_message(0, 0, 1234);
  EXPECT_EQ(get<page_fault>(decode(raw, {})).thread_id, std::nullopt);
  EXPECT_EQ(get<page_fault>(decode(raw, feature::thread_id)).thread_id, 1234);
}

TEST(decode, fork_has_the_descriptor_and_does_not_own_it) {
  const auto before = test::open_descriptors();
  EXPECT_EQ(get<fork_event>(decode(test::fork_message(0), {})).descriptor, 0);
  EXPECT_EQ(test::open_descriptors(), before);
  EXPECT_TRUE(test::is_open(0));
}

TEST(decode, remap_has_where_from_and_where_to) {
  const auto moved = get<remap_event>(decode(test::remap_message(0x1000, 0x9000, 0x2000), {}));
  EXPECT_EQ(moved.from, page_range(0x1000, 0x2000));
  EXPECT_EQ(moved.to, 0x9000u);
}

TEST(decode, remove_and_unmap_have_their_range) {
  EXPECT_EQ(get<remove_event>(decode(test::remove_message(0x1000, 0x3000), {})).range,
            page_range(0x1000, 0x2000));
  EXPECT_EQ(get<unmap_event>(decode(test::unmap_message(0x1000, 0x3000), {})).range,
            page_range(0x1000, 0x2000));
}

TEST(decode, range_the_wrong_way_round_is_empty) {
  EXPECT_TRUE(get<unmap_event>(decode(test::unmap_message(0x3000, 0x1000), {})).range.empty());
}

TEST(decode, message_of_unknown_kind_comes_back_whole) {
  auto raw = test::fault_message(0x1000, 2, 3);
  raw.event = 0x42;
  const auto unknown = get<unknown_event>(decode(raw, {}));
  EXPECT_EQ(unknown.number, 0x42);
  EXPECT_EQ(unknown.raw.argument.page_fault.address, 0x1000u);
  EXPECT_EQ(unknown.raw.argument.page_fault.flags, 2u);
  EXPECT_EQ(unknown.raw.argument.page_fault.thread_id, 3u);
}

TEST(decode, of_random_bytes_is_pure) {
  const auto before = test::open_descriptors();
  std::mt19937_64 random(42);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same bytes each time
  for (int i = 0; i < 100'000; ++i) {
    uapi::message raw{};
    raw.event = static_cast<std::uint8_t>(i % 2 == 0 ? 0x10 + random() % 8 : random());
    std::array<std::uint64_t, 3> words{};
    for (auto& word : words) word = random() >> random() % 64;
    std::memcpy(&raw.argument, words.data(), sizeof words);
    const auto features = flags<feature>::from_bits(random());
    const auto once = decode(raw, features);
    const auto again = decode(raw, features);
    EXPECT_EQ(once.index(), again.index());
    const bool known = raw.event >= uapi::event::page_fault && raw.event <= uapi::event::unmap;
    EXPECT_NE(std::holds_alternative<unknown_event>(once), known);
  }
  EXPECT_EQ(test::open_descriptors(), before);
}

// From here on the kernel makes the messages.

TEST(page_fault, names_the_thread_that_touched) {
  UFFDPP_REQUIRE(test::kernel_has(feature::thread_id));
  const auto on = handle::open({.required = feature::thread_id});
  const test::memory memory(test::memory_kind::anonymous, 1);
  on.register_range(memory.range(), register_mode::missing);
  test::toucher writer(memory.begin(), 7);
  const auto fault = test::next_fault(on);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->thread_id, writer.thread_id());
  EXPECT_TRUE(fault->is_write());
  ASSERT_TRUE(on.zeropage(memory.range()));
}

TEST(page_fault, names_no_thread_where_that_was_not_negotiated) {
  const auto on = handle::open();
  const test::memory memory(test::memory_kind::anonymous, 1);
  on.register_range(memory.range(), register_mode::missing);
  const test::toucher reader(memory.begin());
  const auto fault = test::next_fault(on);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->thread_id, std::nullopt);
  ASSERT_TRUE(on.zeropage(memory.range()));
}

TEST(page_fault, address_is_cut_to_its_page_unless_exact_addresses_were_negotiated) {
  UFFDPP_REQUIRE(test::kernel_has(feature::exact_address));
  for (const auto wanted : {flags<feature>(), flags(feature::exact_address)}) {
    const auto on = handle::open({.required = wanted});
    const test::memory memory(test::memory_kind::anonymous, 2);
    on.register_range(memory.range(), register_mode::missing);
    const test::toucher reader(memory.at(1) + 123);
    const auto fault = test::next_fault(on);
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->address, memory.at(1) + (wanted.empty() ? 0 : 123));
    ASSERT_TRUE(on.zeropage(memory.page(1)));
  }
}

}  // namespace
}  // namespace uffd
