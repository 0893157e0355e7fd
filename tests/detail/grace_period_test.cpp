// SPDX-License-Identifier: MIT
#include "detail/grace_period.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <memory>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"

namespace uffd::detail {
namespace {

TEST(grace_period, is_over_at_once_without_readers) {
  grace_period grace;
  for (int i = 0; i < 5; ++i) grace.wait();
}

TEST(grace_period, waits_for_a_reader_that_began_before) {
  grace_period grace;
  // In whichever half readers count themselves at the moment.
  for (int i = 0; i < 3; ++i) {
    auto reader = std::make_unique<grace_period::reader>(grace);
    test::background waiting([&] { grace.wait(); });
    EXPECT_TRUE(waiting.blocks());
    reader.reset();
    EXPECT_TRUE(waiting.finishes());
    if (i == 1) grace.wait();
  }
}

TEST(grace_period, does_not_wait_for_readers_that_began_later) {
  grace_period grace;
  auto first = std::make_unique<grace_period::reader>(grace);
  std::atomic<bool> over{false};
  // One that is always inside, by turns.
  test::background others([&] {
    auto one = std::make_unique<grace_period::reader>(grace);
    while (!over) {
      auto next = std::make_unique<grace_period::reader>(grace);
      one = std::move(next);
    }
  });
  test::background waiting([&] { grace.wait(); });
  EXPECT_TRUE(waiting.blocks());
  first.reset();
  EXPECT_TRUE(waiting.finishes());
  over = true;
}

// What a reader found is still there; the sanitizers see if not.
TEST(grace_period, keeps_what_readers_found) {
  grace_period grace;
  auto current = std::make_unique<int>(1);
  std::atomic<const int*> published{current.get()};
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0};
  std::deque<test::background> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      while (!over) {
        const grace_period::reader reader(grace);
        if (*published.load() < 1) ++wrong;
      }
    });
  for (int i = 2; i < 300; ++i) {
    auto next = std::make_unique<int>(i);
    published = next.get();
    std::swap(current, next);
    grace.wait();
    *next = 0;
  }
  over = true;
  readers.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace uffd::detail
