// SPDX-License-Identifier: MIT
#include "uffd/pager/recording.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/sight.hpp"
#include "uffd/pager/memory_source.hpp"
#include "uffd/pager/paged_memory.hpp"

namespace uffd {
namespace {

using runs = std::vector<working_set::run>;

const std::size_t page = page_size();

static_assert(!std::is_copy_constructible_v<recording>);

runs runs_of(const working_set& set) { return {set.runs().begin(), set.runs().end()}; }

// In pages, of a source that has that many.
working_set set_of(const runs& parts, std::uint64_t pages, const std::string& source = "") {
  runs bytes;
  for (const auto& part : parts) bytes.push_back({part.offset * page, part.size * page});
  return {source, pages * page, page, bytes};
}

// On a busy machine a thread may be kept from its read for seconds.
map_options patient() {
  map_options how;
  how.deadline = std::chrono::minutes(1);
  return how;
}

// A source that says what it is.
class named_source : public test::counted_source {
 public:
  named_source(std::string name, std::uint64_t bytes)
      : counted_source(bytes), name_(std::move(name)) {}
  std::string identity() const { return name_; }

 private:
  std::string name_;
};

class recording_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(recording_of);

void look_at_pages(const paged_memory& memory, std::initializer_list<std::size_t> numbers) {
  for (const auto number : numbers)
    ASSERT_EQ(test::look_at(memory, number * page + 7), test::shows_source(number * page + 7));
}

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
  EXPECT_EQ(set.bytes(), memory.statistics().pages_loaded * page);
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

class replay_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(replay_of);

TEST_P(replay_of, leaves_no_fault_for_what_was_recorded) {
  const test::counted_source source(5000 * page + 9);
  const auto touch_some = [](const paged_memory& memory) {
    for (std::size_t number = 3; number <= 5000; number += number / 2)
      look_at_pages(memory, {number, number - 1});
  };
  std::optional<working_set> set;
  {
    const test::any_pager pager(GetParam());
    const auto memory = pager->map(std::ref(source));
    auto recorded = memory.record();
    touch_some(memory);
    set = recorded.finish();
  }
  const auto bytes_before = source.bytes_read();
  const auto reads_before = source.reads();
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  ASSERT_FALSE(memory.replay(*set));
  EXPECT_EQ(source.bytes_read() - bytes_before, set->bytes());
  EXPECT_EQ(source.reads() - reads_before, set->runs().size());
  touch_some(memory);
  EXPECT_EQ(memory.statistics().faults, 0U);
  ASSERT_FALSE(memory.replay(*set));
  EXPECT_EQ(source.bytes_read() - bytes_before, set->bytes()) << "nothing twice";
}

TEST_P(replay_of, reads_much_at_once) {
  const test::counted_source source(2048 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  ASSERT_FALSE(memory.replay(set_of({{0, 2048}}, 2048)));
  EXPECT_EQ(source.bytes_read(), source.size());
  EXPECT_LE(source.reads(), source.size() >> 20U);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_EQ(memory.statistics().faults, 0U);
}

TEST_P(replay_of, reads_small_gaps_too_where_it_may) {
  const test::counted_source source(100 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  replay_options options;
  options.gap = 2 * page;
  ASSERT_FALSE(memory.replay(set_of({{10, 1}, {12, 1}, {15, 1}, {19, 1}}, 100), options));
  EXPECT_EQ(source.reads(), 2U);
  EXPECT_EQ(source.bytes_read(), 7 * page);
}

TEST_P(replay_of, refuses_what_was_recorded_of_another_source) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(named_source("it", 10 * page));
  EXPECT_EQ(memory.replay(set_of({{1, 1}}, 10, "another")), working_set_error::other_source);
  EXPECT_EQ(memory.replay(set_of({{1, 1}}, 11, "it")), working_set_error::other_source);
  EXPECT_EQ(memory.replay(set_of({{1, 1}}, 11)), working_set_error::other_source);
  EXPECT_EQ(memory.statistics().pages_loaded, 0U);
  EXPECT_FALSE(memory.replay(set_of({{1, 1}}, 10, "it")));
  EXPECT_FALSE(memory.replay(set_of({{2, 1}}, 10)));
  EXPECT_EQ(memory.statistics().pages_loaded, 2U);
}

// Recorded where pages are smaller, or larger.
TEST_P(replay_of, takes_other_pages_than_its_own) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(10 * page + 3));
  ASSERT_FALSE(memory.replay(
      working_set("", 10 * page + 3, page / 4, runs{{page + page / 4, page}, {10 * page, 3}})));
  EXPECT_EQ(memory.statistics().pages_loaded, 3U);
  ASSERT_FALSE(memory.replay(working_set("", 10 * page + 3, 4 * page, runs{{9 * page, 1}})));
  EXPECT_EQ(memory.statistics().pages_loaded, 5U);
  look_at_pages(memory, {1, 2, 8, 9});
  EXPECT_EQ(memory.statistics().faults, 0U);
}

TEST_P(replay_of, has_nothing_to_do_for_an_empty_set) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(page));
  EXPECT_FALSE(memory.replay(set_of({}, 1)));
  replay_options options;
  options.readers = 0;
  EXPECT_FALSE(memory.replay(set_of({{0, 1}}, 1), options));
  EXPECT_EQ(memory.statistics().pages_loaded, 1U);
}

TEST_P(replay_of, stops_where_the_budget_ends) {
  pager_options options;
  options.budget = memory_budget(std::size_t{8} << 20);
  const test::any_pager pager(GetParam(), options);
  const std::size_t pages = (std::size_t{32} << 20) / page;
  const auto memory = pager->map(test::counted_source(pages * page));
  const auto counted = options.budget.resident();
  look_at_pages(memory, {pages - 1});
  ASSERT_FALSE(memory.replay(set_of({{0, pages}}, pages)));
  const auto done = memory.statistics();
  EXPECT_GT(done.pages_loaded * page, options.budget.limit() / 2);
  EXPECT_EQ(done.pages_evicted, 0U);
  EXPECT_EQ(options.budget.resident() - counted, done.pages_loaded * page);
  look_at_pages(memory, {0, pages - 1});
  EXPECT_EQ(memory.statistics().faults, done.faults);
}

TEST_P(replay_of, tells_why_it_failed) {
  test::kept_source source(1000 * page);
  std::atomic<int> reads{0};
  source.reading_fails = [&] {
    ++reads;
    return make_error_code(source_error::gone);
  };
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  runs every_other;
  for (std::uint64_t number = 0; number < 1000; number += 2) every_other.push_back({number, 1});
  EXPECT_EQ(memory.replay(set_of(every_other, 1000)), source_error::gone);
  EXPECT_LT(reads, 20) << "not for each part again";
  source.reading_fails = [] { return std::error_code(); };
  EXPECT_FALSE(memory.replay(set_of(every_other, 1000)));
  look_at_pages(memory, {0, 1, 2, 500});
}

// A source whose reads wait for each other.
class meeting_source : public test::counted_source {
 public:
  meeting_source(std::uint64_t bytes, int at_once)
      : counted_source(bytes), waits_(std::make_shared<std::atomic<int>>(at_once)) {}
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    --*waits_;
    if (!test::eventually([&] { return *waits_ <= 0; })) return {0, source_error::gone};
    return counted_source::read(offset, to);
  }

 private:
  std::shared_ptr<std::atomic<int>> waits_;
};

TEST_P(replay_of, reads_several_parts_at_once) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(meeting_source(100 * page, 3), patient());
  replay_options options;
  options.readers = 3;
  EXPECT_FALSE(memory.replay(set_of({{10, 1}, {20, 1}, {30, 1}, {40, 1}}, 100), options));
  EXPECT_EQ(memory.statistics().pages_loaded, 4U);
}

TEST_P(replay_of, goes_on_while_the_memory_is_used) {
  constexpr std::size_t pages = 1024;
  const test::counted_source source(pages * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), patient());
  {
    const auto replay = [&] {
      EXPECT_EQ(memory.replay(set_of({{0, pages}}, pages)), std::error_code());
    };
    test::background replaying(replay);
    test::background other(replay);
    for (std::size_t number = pages - 1; number < pages; number -= 5)
      look_at_pages(memory, {number});
  }
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_EQ(memory.statistics().pages_loaded, pages);
}

}  // namespace
}  // namespace uffd
