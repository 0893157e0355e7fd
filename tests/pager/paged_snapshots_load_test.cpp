// SPDX-License-Identifier: MIT
// Snapshots of paged memory that is written, pinned, loaded and evicted all the time.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/pictured.hpp"
#include "support/pictured_paging.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();
constexpr std::size_t pages = 1024;
constexpr std::size_t written = 96;  // of them, at a distance: what is written is never evicted
constexpr std::size_t distance = pages / written;
constexpr std::size_t writers = 2;

class paged_memory_under_load : public testing::TestWithParam<test::pager_kind> {
 protected:
  paged_memory_under_load() : pager_(GetParam(), how()) {}
  void SetUp() override {
    UFFDPP_REQUIRE(test::snapshots_of(test::saved_paging{GetParam()}, pages));
    map_options options;
    options.writes = write_policy::keep;
    options.expected = access_pattern::random;
    memory_.emplace(pager_->map(test::counted_source(pages * page), options));
  }
  void TearDown() override {
    are_over_ = true;
    threads_.clear();
    if (memory_) {
      EXPECT_GT(memory().statistics().pages_evicted, 100U) << "nothing was evicted meanwhile";
    }
  }

  const paged_memory& memory() const { return *memory_; }
  bool are_over() const { return are_over_; }
  // Of each writer one in each page that is written.
  std::atomic<std::uint64_t>& counter(std::size_t number, std::size_t writer) const {
    const auto words = memory().writable_as<std::uint64_t>();
    return reinterpret_cast<std::atomic<std::uint64_t>&>(
        words[number * distance * (page / sizeof(std::uint64_t)) + writer]);
  }
  static std::uint64_t saved(const test::pictured& snapshots, std::size_t number,
                             std::size_t writer) {
    std::uint64_t value = 0;
    std::memcpy(&value,
                snapshots.of().complete.data() + number * distance * page + writer * sizeof value,
                sizeof value);
    return value;
  }
  void start(std::function<void()> work) {
    threads_.emplace_back([this, work = std::move(work)] {
      while (!are_over_) {
        work();
        std::this_thread::yield();
      }
    });
  }
  // Has pages that nobody writes to come and go.
  void start_reading() {
    start([this, random = std::mt19937(99)]() mutable {
      const auto number = random() % pages;
      const auto offset = number * page + page / 2;
      ASSERT_EQ(test::look_at(memory(), offset), test::shows_source(offset));
    });
  }
  void end_threads() {
    are_over_ = true;
    threads_.clear();
    are_over_ = false;
  }
  // What nobody counts in is the source's.
  void expect_source_elsewhere(const test::pictured& snapshots) const {
    const auto& all = snapshots.of().complete;
    constexpr std::size_t counters = writers * sizeof(std::uint64_t);
    for (std::size_t number = 0; number < pages; number += 7)
      ASSERT_EQ(test::first_wrong(std::span(all).subspan(number * page + counters, page - counters),
                                  number * page + counters),
                std::nullopt);
  }

 private:
  static pager_options how() {
    pager_options options;
    options.budget = memory_budget(256 * page);
    options.threads = 2;
    return options;
  }

  test::any_pager pager_;
  std::optional<paged_memory> memory_;
  std::atomic<bool> are_over_{false};
  std::vector<std::jthread> threads_;
};
INSTANTIATE_TEST_SUITE_P(, paged_memory_under_load,
                         testing::Values(test::pager_kind::own_threads,
                                         test::pager_kind::shared_handler),
                         [](const auto& of) { return test::name_of(of.param); });

// Two counters of each writer are equal whenever it does not hold its lock.
TEST_P(paged_memory_under_load, is_of_one_moment) {
  auto snapshots = test::pictures_of(memory(), {.extra_memory = 4 * page});
  std::array<std::mutex, writers> locks;
  for (std::size_t each = 0; each < writers; ++each)
    start([&, each, random = std::mt19937(static_cast<unsigned>(each))]() mutable {
      const auto number = random() % (written / 2);
      const std::lock_guard lock(locks[each]);
      counter(number, each).fetch_add(1, std::memory_order_relaxed);
      counter(number + written / 2, each).fetch_add(1, std::memory_order_relaxed);
    });
  start_reading();
  start([&, random = std::mt19937(7)]() mutable {
    const auto part = memory().bytes().subspan(random() % written * distance * page, 1);
    const auto pinned = memory().pin(part, pin_access::write);
  });
  std::vector<std::uint64_t> expected(written * writers);
  for (int round = 0; round < 120; ++round) {
    snapshots.take(
        {},
        [&] {
          for (auto& lock : locks) lock.lock();
          for (std::size_t number = 0; number < written; ++number)
            for (std::size_t each = 0; each < writers; ++each)
              expected[number * writers + each] = counter(number, each).load();
        },
        [&] {
          for (auto& lock : locks) lock.unlock();
        },
        round % 40 == 39);
    std::size_t wrong = 0;
    for (std::size_t number = 0; number < written; ++number)
      for (std::size_t each = 0; each < writers; ++each)
        wrong += saved(snapshots, number, each) != expected[number * writers + each] ? 1U : 0U;
    ASSERT_EQ(wrong, 0U) << "round " << round;
    const auto& puts = snapshots.of().puts;
    ASSERT_EQ(std::count_if(puts.begin(), puts.end(), [](int put) { return put > 1; }), 0);
  }
  end_threads();
  expect_source_elsewhere(snapshots);
}

TEST_P(paged_memory_under_load, loses_no_write_of_who_does_not_stand_still) {
  auto snapshots = test::pictures_of(memory(), {.extra_memory = page});
  for (std::size_t each = 0; each < writers; ++each)
    start([&, each, random = std::mt19937(static_cast<unsigned>(each))]() mutable {
      counter(random() % written, each).fetch_add(1, std::memory_order_relaxed);
    });
  start_reading();
  for (int round = 0; round < 100; ++round) snapshots.take();
  end_threads();
  snapshots.take();
  const auto bytes = memory().bytes();
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), snapshots.of().complete.begin()));
}

// All of them write what is not saved yet.
TEST_P(paged_memory_under_load, keeps_nobody_waiting_for_ever_where_one_has_a_buffer) {
  auto snapshots = test::pictures_of(memory(), {.extra_memory = page});
  for (std::size_t number = 0; number < written; ++number) counter(number, 0) = 0;
  start_reading();
  for (std::uint64_t round = 0; round < 20; ++round) {
    std::vector<std::jthread> all;
    const auto running = snapshots.begin(
        {.delay = std::chrono::microseconds(200)}, test::nothing_to_stop,
        [&] {
          for (std::size_t each = 0; each < 6; ++each)
            all.emplace_back([&, each] {
              for (auto number = written - 1 - each; number < written; number -= 6)
                counter(number, 0) = round + 1;
            });
        },
        true);
    running->wait();
    running->report();
    all.clear();
    for (std::size_t number = 0; number < written; ++number)
      ASSERT_EQ(saved(snapshots, number, 0), round) << number;
  }
}

TEST_P(paged_memory_under_load, goes_on_when_snapshotters_end_and_others_begin) {
  for (std::size_t each = 0; each < writers; ++each)
    start([&, each, random = std::mt19937(static_cast<unsigned>(each))]() mutable {
      counter(random() % written, each).fetch_add(1, std::memory_order_relaxed);
    });
  start_reading();
  for (int round = 0; round < 30; ++round) {
    auto snapshots = test::pictures_of(memory(), {.extra_memory = 2 * page});
    if (round % 3 == 0) continue;
    snapshots.take();
    if (round % 3 == 1) continue;
    const auto running = snapshots.begin();
    snapshots.end();
  }
  auto snapshots = test::pictures_of(memory());
  snapshots.take();
  end_threads();
  snapshots.take();
  const auto bytes = memory().bytes();
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), snapshots.of().complete.begin()));
}

}  // namespace
}  // namespace uffd
