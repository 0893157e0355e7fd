// SPDX-License-Identifier: MIT
#include "pager/replaying.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/working_sets.hpp"
#include "uffd/pager/paged_memory.hpp"

namespace uffd {
namespace {

using test::look_at_pages;
using test::named_source;
using test::patient;
using test::runs;
using test::set_of;

const std::size_t page = page_size();

TEST(reading_plan, cuts_parts_where_the_largest_windows_end) {
  const runs wanted{{3 * page, 20 * page}, {25 * page + 5, page}, {40 * page, 1}};
  const detail::reading_plan plan{page, 2, 8};
  std::vector<std::pair<std::size_t, std::size_t>> parts;
  for (const auto& part : detail::parts_to_read(wanted, plan))
    parts.emplace_back(part.first, part.count);
  EXPECT_EQ(parts, (decltype(parts){{3, 5}, {8, 8}, {16, 8}, {24, 3}, {40, 1}}));
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
