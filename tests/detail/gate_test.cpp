// SPDX-License-Identifier: MIT
#include "detail/gate.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"

namespace uffd::detail {
namespace {

const address_space* space(std::uintptr_t number) {
  return reinterpret_cast<const address_space*>(number * 64);
}
constexpr page_range page(std::uintptr_t number) { return {number << 12, 4096}; }

void record(gate& gate, std::uintptr_t in, page_range range) {
  const std::lock_guard alone(gate);
  gate.record(space(in), range);
}

TEST(gate, lets_several_in_at_once) {
  gate gate;
  gate.lock_shared();
  test::background other([&] {
    gate.lock_shared();
    gate.unlock_shared();
  });
  EXPECT_TRUE(other.finishes());
  gate.unlock_shared();
}

TEST(gate, keeps_a_writer_out_until_all_have_left) {
  gate gate;
  gate.lock_shared();
  gate.lock_shared();
  test::background writer([&] {
    gate.lock();
    gate.unlock();
  });
  gate.unlock_shared();
  EXPECT_TRUE(writer.blocks());
  gate.unlock_shared();
  EXPECT_TRUE(writer.finishes());
}

TEST(gate, keeps_everybody_out_while_a_writer_is_in) {
  gate gate;
  gate.lock();
  test::background reader([&] {
    gate.lock_shared();
    gate.unlock_shared();
  });
  test::background writer([&] {
    gate.lock();
    gate.unlock();
  });
  EXPECT_TRUE(reader.blocks());
  EXPECT_TRUE(writer.blocks());
  gate.unlock();
  EXPECT_TRUE(reader.finishes());
  EXPECT_TRUE(writer.finishes());
}

TEST(gate, never_has_a_writer_and_another_in_at_once) {
  gate gate;
  std::atomic<int> readers{0};
  std::atomic<int> writers{0};
  std::atomic<int> mistakes{0};
  int unguarded = 0;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 2; ++thread) {
      threads.emplace_back([&] {
        for (int i = 0; i < 3000; ++i) {
          const std::shared_lock in(gate);
          ++readers;
          mistakes += writers != 0;
          --readers;
        }
      });
      threads.emplace_back([&] {
        for (int i = 0; i < 3000; ++i) {
          const std::lock_guard alone(gate);
          mistakes += ++writers != 1 || readers != 0;
          ++unguarded;
          --writers;
        }
      });
    }
  }
  EXPECT_EQ(mistakes, 0);
  EXPECT_EQ(unguarded, 6000);
}

TEST(gate, tells_what_was_touched_since) {
  gate gate;
  const auto before = gate.generation();
  EXPECT_FALSE(gate.touched_since(before, space(1), page(1)));
  record(gate, 1, page(1));
  EXPECT_TRUE(gate.touched_since(before, space(1), page(1)));
  EXPECT_FALSE(gate.touched_since(before, space(1), page(2)));
  EXPECT_FALSE(gate.touched_since(before, space(2), page(1))) << "another process's";
  EXPECT_FALSE(gate.touched_since(gate.generation(), space(1), page(1))) << "that was before";
}

TEST(gate, finds_overlaps_of_any_part) {
  gate gate;
  const auto before = gate.generation();
  record(gate, 1, {page(10).begin(), 4 * 4096});
  EXPECT_TRUE(gate.touched_since(before, space(1), page(13)));
  EXPECT_TRUE(gate.touched_since(before, space(1), {page(8).begin(), 3 * 4096}));
  EXPECT_FALSE(gate.touched_since(before, space(1), page(14)));
  EXPECT_FALSE(gate.touched_since(before, space(1), page(9)));
}

TEST(gate, takes_more_events_than_it_remembers_for_a_touch) {
  gate gate;
  const auto before = gate.generation();
  for (int i = 0; i < 100; ++i) record(gate, 1, page(2));
  EXPECT_FALSE(gate.touched_since(before, space(1), page(1)));
  for (int i = 0; i < 100; ++i) record(gate, 1, page(2));
  EXPECT_TRUE(gate.touched_since(before, space(1), page(1)));
  EXPECT_FALSE(gate.touched_since(gate.generation(), space(1), page(1)));
}

TEST(gate, remembers_each_of_the_last_events) {
  gate gate;
  for (std::uintptr_t i = 0; i < 1000; ++i) {
    const auto before = gate.generation();
    record(gate, 1, page(i));
    for (std::uintptr_t k = 1; k < 20; ++k) record(gate, 1, page(100000 + k));
    ASSERT_TRUE(gate.touched_since(before, space(1), page(i))) << i;
  }
}

}  // namespace
}  // namespace uffd::detail
