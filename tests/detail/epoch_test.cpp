// SPDX-License-Identifier: MIT
#include "detail/epoch.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace uffd::detail {
namespace {

// Retires a new object and answers how to see whether it still lives.
std::weak_ptr<int> retire_one(epoch& epochs) {
  auto object = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = object;
  epochs.retire(std::move(object));
  return seen;
}

TEST(epoch, frees_at_once_what_no_reader_can_have_seen) {
  epoch epochs(2);
  const auto object = retire_one(epochs);
  EXPECT_TRUE(epochs.has_retired());
  EXPECT_FALSE(object.expired());
  epochs.collect(nullptr);
  EXPECT_TRUE(object.expired());
  EXPECT_FALSE(epochs.has_retired());
}

TEST(epoch, keeps_what_a_reader_may_have_seen_until_it_leaves) {
  epoch epochs(2);
  epochs.enter(epochs.slot(1));
  const auto object = retire_one(epochs);
  epochs.collect(nullptr);
  EXPECT_FALSE(object.expired());
  EXPECT_TRUE(epochs.has_retired());
  epochs.leave(epochs.slot(1));
  epochs.collect(nullptr);
  EXPECT_TRUE(object.expired());
}

TEST(epoch, does_not_wait_for_readers_that_came_later) {
  epoch epochs(2);
  const auto object = retire_one(epochs);
  epochs.enter(epochs.slot(0));
  epochs.collect(nullptr);
  EXPECT_TRUE(object.expired());
  epochs.leave(epochs.slot(0));
}

TEST(epoch, frees_the_older_and_keeps_the_younger) {
  epoch epochs(2);
  const auto old = retire_one(epochs);
  epochs.enter(epochs.slot(0));
  const auto young = retire_one(epochs);
  epochs.collect(nullptr);
  EXPECT_TRUE(old.expired());
  EXPECT_FALSE(young.expired());
  epochs.leave(epochs.slot(0));
}

TEST(epoch, does_not_count_the_reader_that_collects) {
  epoch epochs(2);
  epochs.enter(epochs.slot(0));
  const auto object = retire_one(epochs);
  epochs.collect(&epochs.slot(0));
  EXPECT_TRUE(object.expired());
  epochs.leave(epochs.slot(0));
}

TEST(epoch, counts_turns) {
  epoch epochs(1);
  const auto before = epochs.slot(0).turns.load();
  epochs.enter(epochs.slot(0));
  epochs.leave(epochs.slot(0));
  epochs.enter(epochs.slot(0));
  EXPECT_EQ(epochs.slot(0).turns.load(), before + 2);
}

// What is freed too early, a reader would find spoilt (and the sanitizers name it).
TEST(epoch, never_frees_under_a_reader) {
  struct value {
    explicit value(int n) : number(n) {}
    ~value() { number = -1; }
    std::atomic<int> number;
  };
  constexpr std::size_t readers = 2;
  epoch epochs(readers);
  auto current = std::make_shared<const value>(0);
  std::atomic<const value*> published{current.get()};
  std::atomic<bool> over{false};
  std::atomic<int> spoilt{0};
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < readers; ++i)
    threads.emplace_back([&, i] {
      auto& slot = epochs.slot(i);
      while (!over) {
        epochs.enter(slot);
        const auto* seen = published.load(std::memory_order_seq_cst);
        for (int k = 0; k < 5; ++k) spoilt += seen->number < 0;
        epochs.leave(slot);
      }
    });
  for (int i = 1; i < 5000; ++i) {
    auto next = std::make_shared<const value>(i);
    published.store(next.get(), std::memory_order_seq_cst);
    epochs.retire(std::exchange(current, std::move(next)));
    epochs.collect(nullptr);
  }
  over = true;
  threads.clear();
  EXPECT_EQ(spoilt, 0);
}

}  // namespace
}  // namespace uffd::detail
