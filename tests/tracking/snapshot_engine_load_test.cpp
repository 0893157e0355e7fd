// SPDX-License-Identifier: MIT
// Snapshots of memory that is written all the time.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "support/memory.hpp"
#include "support/pictured.hpp"
#include "support/saved_memory.hpp"

namespace uffd {
namespace {

class snapshot_under_load_of : public test::saved_memory {};
UFFDPP_FOR_EVERY_SAVED_MEMORY(snapshot_under_load_of);

// Two counters of each writer are equal whenever it does not hold its lock.
TEST_P(snapshot_under_load_of, memory_is_of_one_moment_while_it_is_written) {
  constexpr std::size_t writers = 2;
  const std::size_t count = test::is_huge(kind()) ? 4 : 256;
  const int rounds = test::is_huge(kind()) ? 25 : 200;
  const test::memory memory(kind(), count);
  const auto per_page = memory.page_size() / sizeof(std::uint64_t);
  const auto words =
      std::span(reinterpret_cast<std::atomic<std::uint64_t>*>(memory.begin()), count * per_page);
  auto snapshots = pictures_of(memory, {.extra_memory = 16 * memory.page_size()});
  std::array<std::mutex, writers> locks;
  std::atomic<bool> are_over{false};
  std::vector<std::jthread> threads;
  for (std::size_t each = 0; each < writers; ++each)
    threads.emplace_back([&, each] {
      std::mt19937 random(static_cast<unsigned>(each));
      while (!are_over) {
        const auto page = random() % (count / 2);
        {
          const std::lock_guard lock(locks[each]);
          words[page * per_page + each].fetch_add(1, std::memory_order_relaxed);
          words[(page + count / 2) * per_page + each].fetch_add(1, std::memory_order_relaxed);
        }
        std::this_thread::yield();
      }
    });
  std::vector<std::uint64_t> expected(count * writers);
  const auto value_of = [&](std::size_t page, std::size_t each) {
    std::uint64_t value = 0;
    std::memcpy(&value,
                snapshots.of().complete.data() + page * memory.page_size() + each * sizeof value,
                sizeof value);
    return value;
  };
  for (int round = 0; round < rounds; ++round) {
    snapshots.take(
        {},
        [&] {
          for (auto& lock : locks) lock.lock();
          for (std::size_t page = 0; page < count; ++page)
            for (std::size_t each = 0; each < writers; ++each)
              expected[page * writers + each] = words[page * per_page + each].load();
        },
        [&] {
          for (auto& lock : locks) lock.unlock();
        },
        round % 50 == 49);
    std::size_t wrong = 0;
    for (std::size_t page = 0; page < count; ++page)
      for (std::size_t each = 0; each < writers; ++each)
        wrong += value_of(page, each) != expected[page * writers + each] ? 1U : 0U;
    ASSERT_EQ(wrong, 0U) << "round " << round;
    const auto& puts = snapshots.of().puts;
    ASSERT_EQ(std::count_if(puts.begin(), puts.end(), [](int put) { return put > 1; }), 0);
  }
  are_over = true;
}

TEST_P(snapshot_under_load_of, memory_loses_no_write_of_who_does_not_stand_still) {
  const std::size_t count = test::is_huge(kind()) ? 4 : 64;
  const int rounds = test::is_huge(kind()) ? 10 : 100;
  const test::memory memory(kind(), count);
  const auto per_page = memory.page_size() / sizeof(std::uint64_t);
  const auto words =
      std::span(reinterpret_cast<std::atomic<std::uint64_t>*>(memory.begin()), count * per_page);
  auto snapshots = pictures_of(memory, {.extra_memory = 4 * memory.page_size()});
  std::atomic<bool> are_over{false};
  std::vector<std::jthread> writers;
  for (std::size_t each = 0; each < 2; ++each)
    writers.emplace_back([&, each] {
      std::mt19937 random(static_cast<unsigned>(each));
      while (!are_over) {
        words[random() % count * per_page + each].fetch_add(1, std::memory_order_relaxed);
        std::this_thread::yield();
      }
    });
  for (int round = 0; round < rounds; ++round) snapshots.take();
  are_over = true;
  writers.clear();
  snapshots.take();
  const auto bytes = memory.bytes();
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), snapshots.of().complete.begin()));
}

}  // namespace
}  // namespace uffd
