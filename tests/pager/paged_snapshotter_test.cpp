// SPDX-License-Identifier: MIT
// Files of paged memory, and what is no paged memory to save.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/pictured.hpp"
#include "support/pictured_paging.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/scratch_folder.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/mapping.hpp"
#include "uffd/pager/pager.hpp"
#include "uffd/pager/snapshot_source.hpp"
#include "uffd/tracking/snapshot.hpp"
#include "uffd/tracking/snapshot_chain.hpp"

namespace uffd {
namespace {

using bytes = std::vector<std::byte>;

constexpr std::size_t pages = 8;

map_options with(write_policy writes) {
  map_options options;
  options.writes = writes;
  return options;
}
const map_options kept = with(write_policy::keep);

class snapshotter_of_paged : public testing::TestWithParam<test::saved_paging> {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::snapshots_of(GetParam(), 2 * pages)); }
  std::filesystem::path file(const char* name) const { return folder_ / name; }
  bytes saved(const char* name, std::size_t area = 0) const {
    const auto chain = snapshot_chain::open(file(name));
    chain.verify();
    std::vector<bytes> restored;
    std::vector<std::span<std::byte>> to;
    for (const auto& each : chain.areas()) restored.emplace_back(each.range.size());
    for (auto& each : restored) to.emplace_back(each);
    chain.restore(to);
    return restored[area];
  }

 private:
  test::scratch_folder folder_;
};
UFFDPP_FOR_EVERY_SAVED_PAGING(snapshotter_of_paged);

TEST_P(snapshotter_of_paged, memory_saves_it_as_it_was_when_the_lock_was_held) {
  test::saved_paged_memory memory(GetParam(), pages);
  memory.write(1, 10);
  memory.read(2);
  snapshotter by(memory.memory);
  std::mutex writers;
  const auto first = memory.now;
  EXPECT_FALSE(by.take(file("base"), writers).wait().is_delta);
  memory.write(2, 20);
  memory.write(3, 30);
  const auto report = by.take(file("delta"), writers).wait();
  EXPECT_TRUE(report.is_delta);
  EXPECT_EQ(report.saved_bytes, 2 * memory.page_size());
  EXPECT_EQ(saved("base"), first);
  EXPECT_EQ(saved("delta"), memory.now);
  const auto moved = std::move(memory.memory);
  EXPECT_EQ(by.take(file("again"), writers).wait().saved_bytes, 0U);
  snapshotter(std::move(by));
}

TEST_P(snapshotter_of_paged, memory_saves_what_is_lazily_restored) {
  test::saved_paged_memory memory(GetParam(), pages);
  memory.write(1, 10);
  std::mutex writers;
  snapshotter(memory.memory).take(file("base"), writers).wait();
  const test::any_pager pager(GetParam().by);
  auto how = kept;
  how.backing = GetParam().backing;
  how.huge_page = how.backing == page_backing::huge ? test::huge_page_size : 0;
  const auto restored = pager->map(snapshot_source(snapshot_chain::open(file("base"))), how);
  snapshotter by(restored);
  const auto at = [&](std::size_t page) {
    return test::address_of(restored.bytes()[page * memory.page_size()]);
  };
  const auto base = memory.now;
  auto running = by.take(file("untouched"), writers);
  test::write(at(1), 11);
  running.wait();
  EXPECT_EQ(saved("untouched"), base);
  test::write(at(5), 50);
  by.take(file("delta"), writers).wait();
  EXPECT_EQ(saved("delta"), bytes(restored.bytes().begin(), restored.bytes().end()));
}

TEST_P(snapshotter_of_paged, memory_saves_several_at_one_moment) {
  const test::any_pager pager(GetParam().by);
  const auto one = pager->map(test::counted_source(3 * page_size()), kept);
  const auto other = pager->map(test::counted_source(5 * page_size() + 1), kept);
  const std::array both{&one, &other};
  snapshotter by(both);
  std::mutex writers;
  test::write(test::address_of(one.bytes()[0]), 1);
  test::write(test::address_of(other.bytes()[page_size()]), 2);
  auto running = by.take(file("one"), writers);
  test::write(test::address_of(other.bytes()[0]), 3);
  running.wait();
  const auto first = saved("one", 0);
  const auto second = saved("one", 1);
  EXPECT_EQ(first.front(), std::byte{1});
  EXPECT_EQ(test::first_wrong(std::span(first).subspan(1), 1), std::nullopt);
  ASSERT_EQ(second.size(), 6 * page_size());
  EXPECT_EQ(second[0], test::source_byte(0));
  EXPECT_EQ(second[page_size()], std::byte{2});
  EXPECT_EQ(std::count(second.end() - static_cast<std::ptrdiff_t>(page_size()) + 1, second.end(),
                       std::byte{0}),
            page_size() - 1);
}

class refused_paged_memory : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::snapshots_of(test::saved_paging{}, pages)); }
  static test::refusal refusal_of(const paged_memory& memory, const snapshot_options& how = {}) {
    return test::refusal_of([&] { snapshotter(memory, how); });
  }
};

TEST_F(refused_paged_memory, is_what_is_always_as_its_source_or_writes_to_it) {
  test::kept_source source(pages * page_size());
  const test::any_pager pager(test::pager_kind::own_threads);
  const auto read_only = refusal_of(pager->map(std::ref(source)));
  EXPECT_EQ(read_only.number, EINVAL);
  EXPECT_TRUE(read_only.names("write_policy::none")) << read_only.words;
  EXPECT_TRUE(read_only.names("write_policy::keep")) << read_only.words;
  const auto written = refusal_of(pager->map(std::ref(source), with(write_policy::write_back)));
  EXPECT_EQ(written.number, EINVAL);
  EXPECT_TRUE(written.names("write_policy::write_back")) << written.words;
  UFFDPP_REQUIRE(test::kernel_has(feature::minor_shmem | feature::missing_shmem));
  map_options shared;
  shared.backing = page_backing::shared;
  const auto shown = refusal_of(pager->map(std::ref(source), shared));
  EXPECT_EQ(shown.number, EINVAL);
  EXPECT_TRUE(shown.names("page_backing::shared")) << shown.words;
}

TEST_F(refused_paged_memory, is_that_of_a_pager_whose_faults_can_not_wait) {
  const test::any_pager pager(test::pager_kind::in_thread);
  const auto refusal = refusal_of(pager->map(test::counted_source(page_size()), kept));
  EXPECT_EQ(refusal.number, EINVAL);
  EXPECT_TRUE(refusal.names("in the threads that raise them")) << refusal.words;
}

TEST_F(refused_paged_memory, is_that_of_several_pagers) {
  const test::any_pager one(test::pager_kind::own_threads);
  const test::any_pager other(test::pager_kind::own_threads);
  const auto first = one->map(test::counted_source(page_size()), kept);
  const auto second = other->map(test::counted_source(page_size()), kept);
  const std::array both{&first, &second};
  const auto refusal = test::refusal_of([&] { snapshotter{both}; });
  EXPECT_EQ(refusal.number, EINVAL);
  EXPECT_TRUE(refusal.names("another pager")) << refusal.words;
  EXPECT_EQ(test::thrown([] { snapshotter{std::span<const paged_memory* const>()}; }), EINVAL);
  const std::array twice{&first, &first};
  EXPECT_EQ(test::thrown([&] { snapshotter{twice}; }), EBUSY);
  snapshotter{first};
}

TEST_F(refused_paged_memory, is_that_of_a_handle_that_lacks_something) {
  const auto refusal_with = [](const open_options& open) {
    fault_handler_options how;
    how.forks = fork_policy::not_inherited;
    how.open = open;
    fault_handler handler([](fault&) -> resolution { return std::errc::invalid_argument; }, how);
    const pager by(handler);
    return refusal_of(by.map(test::counted_source(page_size()), kept));
  };
  const auto none = refusal_with({.kernel_faults = kernel_fault_policy::required});
  EXPECT_EQ(none.number, EINVAL);
  EXPECT_TRUE(none.names("pagefault_flag_wp")) << none.words;
  if (test::kernel_has(feature::wp_async).empty()) {
    const auto untold = refusal_with({.required = feature::pagefault_flag_wp | feature::wp_async,
                                      .kernel_faults = kernel_fault_policy::required});
    EXPECT_EQ(untold.number, EINVAL);
    EXPECT_TRUE(untold.names("wp_async")) << untold.words;
  }
  UFFDPP_REQUIRE(test::user_mode_faults_only());
  pager_options how;
  how.open.kernel_faults = kernel_fault_policy::never;
  const pager by(how);
  const auto user = refusal_of(by.map(test::counted_source(page_size()), kept));
  EXPECT_EQ(user.number, EINVAL);
  EXPECT_TRUE(user.names("kernel_fault_policy::required")) << user.words;
}

TEST_F(refused_paged_memory, has_no_buffer_of_a_page) {
  const test::any_pager pager(test::pager_kind::own_threads);
  const auto memory = pager->map(test::counted_source(page_size()), kept);
  const auto refusal = refusal_of(memory, {.extra_memory = 1});
  EXPECT_EQ(refusal.number, EINVAL);
  EXPECT_TRUE(refusal.names("extra_memory")) << refusal.words;
  snapshotter{memory};
}

}  // namespace
}  // namespace uffd
