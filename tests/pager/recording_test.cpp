// SPDX-License-Identifier: MIT
#include "uffd/pager/recording.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/sight.hpp"
#include "support/working_sets.hpp"

namespace uffd {
namespace {

using test::look_at_pages;
using test::named_source;
using test::patient;
using test::runs;
using test::runs_of;
using test::set_of;

const std::size_t page = page_size();

static_assert(!std::is_copy_constructible_v<recording>);

class recording_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(recording_of);

TEST_P(recording_of, tells_what_was_touched) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(named_source("it", 1000 * page + 5));
  auto recorded = memory.record();
  look_at_pages(memory, {70, 3, 71, 999});
  ASSERT_EQ(test::look_at(memory, 1000 * page), test::shows_source(1000 * page));
  const auto set = recorded.finish();
  EXPECT_EQ(runs_of(set), (runs{{3 * page, page}, {70 * page, 2 * page}, {999 * page, page + 5}}));
  EXPECT_EQ(set.source(), "it");
  EXPECT_EQ(set.source_size(), 1000 * page + 5);
  EXPECT_EQ(set.page_size(), page);
}

TEST_P(recording_of, tells_nothing_of_what_was_only_prefetched_or_there_before) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(100 * page));
  look_at_pages(memory, {1});
  auto recorded = memory.record();
  ASSERT_FALSE(memory.prefetch(memory.bytes().subspan(10 * page, 20 * page)));
  ASSERT_FALSE(memory.replay(set_of({{40, 5}}, 100)));
  look_at_pages(memory, {1, 15, 42, 50});
  EXPECT_EQ(recorded.finish(), set_of({{50, 1}}, 100));
}

TEST_P(recording_of, tells_what_was_pinned) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(100 * page));
  auto recorded = memory.record();
  const auto pinned = memory.pin(memory.bytes().subspan(10 * page + 1, page));
  EXPECT_EQ(recorded.finish(), set_of({{10, 2}}, 100));
}

TEST_P(recording_of, tells_what_was_written) {
  test::kept_source source(100 * page);
  const test::any_pager pager(GetParam());
  map_options options;
  options.writes = write_policy::write_back;
  const auto memory = pager->map(std::ref(source), options);
  look_at_pages(memory, {3});
  auto recorded = memory.record();
  for (const std::size_t number : {3U, 5U})
    ASSERT_EQ(test::try_write(test::address_of(memory.bytes()[number * page]), 1), test::shows(1));
  EXPECT_EQ(recorded.finish(), set_of({{3, 1}, {5, 1}}, 100));
}

// What is read ahead would raise no fault.
TEST_P(recording_of, misses_nothing_of_what_is_read_in_order) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(1000 * page));
  {
    auto recorded = memory.record();
    for (std::size_t number = 100; number < 300; ++number) look_at_pages(memory, {number});
    EXPECT_EQ(recorded.finish(), set_of({{100, 200}}, 1000));
  }
  const auto before = memory.statistics().faults;
  for (std::size_t number = 500; number < 700; ++number) look_at_pages(memory, {number});
  EXPECT_LT(memory.statistics().faults - before, 50U) << "read ahead again";
}

TEST_P(recording_of, takes_all_that_is_read_where_all_is_said_to_be_wanted) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(1000 * page));
  memory.advise(access_pattern::sequential);
  auto recorded = memory.record();
  for (std::size_t number = 100; number < 300; ++number) look_at_pages(memory, {number});
  const auto set = recorded.finish();
  ASSERT_EQ(set.runs().size(), 1U);
  EXPECT_EQ(set.runs()[0].offset, 100 * page);
  const auto all_loaded = [&] { return set.bytes() == memory.statistics().pages_loaded * page; };
  EXPECT_TRUE(test::eventually(all_loaded)) << set.bytes();
  EXPECT_LT(memory.statistics().faults, 50U);
}

TEST_P(recording_of, has_whole_units) {
  const test::any_pager pager(GetParam());
  map_options options;
  options.unit = 4 * page;
  const auto memory = pager->map(test::counted_source(103 * page), options);
  auto recorded = memory.record();
  look_at_pages(memory, {9, 102});
  EXPECT_EQ(recorded.finish(), set_of({{8, 4}, {100, 3}}, 103));
}

TEST_P(recording_of, is_one_at_a_time) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(10 * page));
  auto first = memory.record();
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.record()); }), EBUSY);
  look_at_pages(memory, {1});
  EXPECT_EQ(first.finish(), set_of({{1, 1}}, 10));
  auto second = memory.record();
  look_at_pages(memory, {2});
  EXPECT_EQ(second.wanted(), set_of({{2, 1}}, 10)) << "begins anew";
  look_at_pages(memory, {3});
  EXPECT_EQ(second.wanted(), set_of({{2, 2}}, 10)) << "goes on";
}

TEST_P(recording_of, ends_by_itself) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(10 * page));
  for (int i = 0; i < 3; ++i) static_cast<void>(memory.record());
  auto recorded = memory.record();
  static_cast<void>(recorded.finish());
  EXPECT_EQ(test::thrown([&] { static_cast<void>(recorded.finish()); }), EINVAL);
  recorded = memory.record();
  auto moved = std::move(recorded);
  look_at_pages(memory, {5});
  EXPECT_EQ(moved.finish(), set_of({{5, 1}}, 10));
}

// What was evicted and wanted again is one page all the same.
TEST_P(recording_of, sees_through_a_small_budget) {
  pager_options options;
  options.budget = memory_budget(std::size_t{8} << 20);
  const test::any_pager pager(GetParam(), options);
  const std::size_t pages = (std::size_t{16} << 20) / page;
  const auto memory = pager->map(test::counted_source(pages * page));
  auto recorded = memory.record();
  for (int round = 0; round < 2; ++round)
    for (std::size_t number = 0; number < pages; ++number) look_at_pages(memory, {number});
  EXPECT_EQ(recorded.finish(), set_of({{0, pages}}, pages));
}

TEST_P(recording_of, sees_what_many_threads_want) {
  const test::any_pager pager(GetParam());
  constexpr std::size_t pages = 4096;
  const auto memory = pager->map(test::counted_source(pages * page), patient());
  auto recorded = memory.record();
  {
    std::vector<std::unique_ptr<test::background>> threads;
    for (std::size_t first = 0; first < 4; ++first)
      threads.push_back(std::make_unique<test::background>([&memory, first] {
        for (auto number = first; number < pages; number += 8) look_at_pages(memory, {number});
      }));
  }
  runs expected;
  for (std::size_t number = 0; number < pages; number += 8) expected.push_back({number, 4});
  EXPECT_EQ(recorded.finish(), set_of(expected, pages));
}

// While others touch the memory; what is asked for after a touch knows of it.
TEST_P(recording_of, can_begin_and_end_at_any_time) {
  const test::any_pager pager(GetParam());
  constexpr std::size_t pages = 2048;
  auto how = patient();
  how.expected = access_pattern::random;
  const auto memory = pager->map(test::counted_source(pages * page), how);
  std::atomic<std::size_t> next{0};
  const auto touch_all = [&] {
    for (auto number = next++; number < pages; number = next++) look_at_pages(memory, {number});
  };
  test::background one(touch_all);
  test::background other(touch_all);
  std::size_t times = 0;
  do {
    auto recorded = memory.record();
    const auto number = next++;
    if (number < pages) {
      look_at_pages(memory, {number});
      const auto set = recorded.finish();
      const auto is_there = [&](const working_set::run& run) {
        return run.offset <= number * page && number * page < run.offset + run.size;
      };
      EXPECT_TRUE(std::any_of(set.runs().begin(), set.runs().end(), is_there));
    }
    ++times;
  } while (!one.finishes(std::chrono::milliseconds(0)));
  EXPECT_GT(times, 0U);
}

}  // namespace
}  // namespace uffd
