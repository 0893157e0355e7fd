// SPDX-License-Identifier: MIT
#include "tracking/page_states.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace uffd::detail {
namespace {

using namespace page_bit;

// Of one that is dirty makes one that is pending.
void protect(page_states& pages, std::size_t page) {
  ASSERT_TRUE(pages.demand_unprotected(page));
  pages.has_protected(page, page + 1);
}

TEST(page_states, are_dirty_at_first) {
  const page_states pages(21);
  for (std::size_t page = 0; page < pages.pages(); ++page) EXPECT_EQ(pages.at(page), dirty);
}

TEST(page_states, are_of_one_page_each) {
  page_states pages(20);
  EXPECT_EQ(pages.set(9, stored), dirty);
  EXPECT_EQ(pages.clear(9, dirty), stored | dirty);
  EXPECT_EQ(pages.at(9), stored);
  EXPECT_EQ(pages.at(8), dirty);
  EXPECT_EQ(pages.at(10), dirty);
}

TEST(page_states, are_claimed_once_when_pending) {
  page_states pages(3);
  EXPECT_FALSE(pages.claim(1));
  protect(pages, 1);
  EXPECT_EQ(pages.at(1), pending | owed);
  EXPECT_TRUE(pages.claim(1));
  EXPECT_FALSE(pages.claim(1));
  EXPECT_FALSE(pages.claim_to_write(1));
  EXPECT_FALSE(pages.claim_to_write_unsaved(1));
  pages.release(1);
  EXPECT_EQ(pages.at(1), owed);
}

TEST(page_states, are_claimed_to_write_when_not_pending) {
  page_states pages(3);
  protect(pages, 2);
  EXPECT_FALSE(pages.claim_to_write(2));
  EXPECT_TRUE(pages.claim(2));
  pages.release(2);
  EXPECT_TRUE(pages.claim_to_write(2));
  EXPECT_EQ(pages.at(2), owed | claimed | dirty);
  EXPECT_FALSE(pages.claim_to_write(2));
}

TEST(page_states, are_claimed_to_write_unsaved_even_when_pending) {
  page_states pages(3);
  protect(pages, 2);
  EXPECT_TRUE(pages.claim_to_write_unsaved(2));
  pages.release(2);
  EXPECT_EQ(pages.at(2), owed | dirty);
}

TEST(page_states, are_not_pending_where_nothing_is) {
  page_states pages(2);
  protect(pages, 0);
  protect(pages, 1);
  pages.set(1, stored);
  pages.pass_over(0);
  pages.pass_over(1);
  EXPECT_EQ(pages.at(0), dirty);
  EXPECT_EQ(pages.at(1), owed | stored | dirty);
}

TEST(page_states, are_demanded_only_where_they_are_protected) {
  page_states pages(2);
  EXPECT_FALSE(pages.demand(0)) << "a write to it is not heard of";
  EXPECT_EQ(pages.at(0), dirty);
  protect(pages, 0);
  ASSERT_TRUE(pages.claim(0));
  EXPECT_FALSE(pages.demand(0)) << "somebody is at it";
  pages.release(0);
  EXPECT_TRUE(pages.demand(0));
  EXPECT_EQ(pages.at(0), pending | owed);
}

TEST(page_states, are_not_demanded_where_the_caller_rather_waits) {
  page_states pages(2);
  pages.set(0, removed);
  EXPECT_FALSE(pages.demand_unprotected(0, removed));
  EXPECT_EQ(pages.at(0), dirty | removed);
  EXPECT_TRUE(pages.demand_unprotected(0));
  EXPECT_EQ(pages.at(0), pending | claimed | owed);
}

// Whoever wants a page that another one is at comes to his end once that one lets go.
class page_that_is_claimed : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(pages.claim_to_write(0)); }
  template <class Wait>
  void expect_to_wait(Wait&& wait, std::uint8_t afterwards) {
    std::atomic<bool> has_begun{false};
    std::atomic<bool> is_released{false};
    std::jthread waiting([&] {
      has_begun = true;
      wait();
      EXPECT_TRUE(is_released);
    });
    while (!has_begun) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    is_released = true;
    pages.release(0);
    waiting.join();
    EXPECT_EQ(pages.at(0), afterwards);
  }
  page_states pages{3};
};

TEST_F(page_that_is_claimed, is_demanded_afterwards) {
  expect_to_wait([&] { EXPECT_TRUE(pages.demand_unprotected(0)); }, pending | claimed | owed);
}

TEST_F(page_that_is_claimed, is_passed_over_afterwards) {
  expect_to_wait([&] { pages.pass_over(0); }, dirty);
}

TEST(page_states, are_nobodys_until_they_are_protected) {
  page_states states(3);
  EXPECT_TRUE(states.demand_unprotected(1));
  EXPECT_FALSE(states.demand_unprotected(1));
  EXPECT_TRUE(states.demand(1));
  EXPECT_FALSE(states.claim(1)) << "a write from before the moment may be served late";
  EXPECT_FALSE(states.claim_to_write(1));
  EXPECT_FALSE(states.claim_to_write_unsaved(1));
  states.has_protected(0, 3);
  EXPECT_TRUE(states.claim(1));
  states.has_protected(0, 3);
  EXPECT_FALSE(states.claim_to_write(1)) << "that claim is another one";
}

TEST(page_states, are_pending_again_when_a_claim_to_save_them_is_taken_back) {
  page_states states(2);
  protect(states, 0);
  ASSERT_TRUE(states.claim(0));
  states.unclaim(0);
  EXPECT_EQ(states.at(0), pending | owed);
}

TEST(page_states, are_written_over_a_source_once_when_pending) {
  page_states states(2);
  EXPECT_FALSE(states.claim_to_write_over_source(0));
  protect(states, 0);
  EXPECT_TRUE(states.claim_to_write_over_source(0));
  EXPECT_FALSE(states.claim_to_write_over_source(0));
  states.release(0);
  EXPECT_EQ(states.at(0), in_source | owed | dirty);
  EXPECT_FALSE(states.claim_to_write_over_source(0));
}

TEST(page_states, are_dirty_when_they_are_forgotten_unprotected) {
  page_states states(2);
  protect(states, 0);
  EXPECT_TRUE(states.demand_unprotected(1));
  states.forget(0);
  states.forget(1);
  EXPECT_EQ(states.at(0), page_bit::owed);
  EXPECT_EQ(states.at(1), page_bit::owed | page_bit::dirty);
}

TEST(page_states, are_found_by_their_bits) {
  page_states pages(40);
  for (const std::size_t page : {3U, 7U, 8U, 31U, 39U}) pages.set(page, stored);
  pages.set(20, removed);
  EXPECT_EQ(pages.next_with(stored, 0, 40), 3U);
  EXPECT_EQ(pages.next_with(stored, 4, 40), 7U);
  EXPECT_EQ(pages.next_with(stored, 9, 31), 31U);
  EXPECT_EQ(pages.next_with(stored, 9, 30), 30U);
  EXPECT_EQ(pages.next_with(stored | removed, 9, 40), 20U);
  std::vector<std::size_t> found;
  pages.for_each_with(stored, 4, 39, [&](std::size_t page) { found.push_back(page); });
  EXPECT_EQ(found, (std::vector<std::size_t>{7, 8, 31}));
  EXPECT_EQ(pages.next_with(stored, 40, 40), 40U);
  EXPECT_EQ(pages.next_without(dirty, 0, 40), 40U);
  pages.clear(12, dirty);
  EXPECT_EQ(pages.next_without(dirty, 3, 40), 12U);
}

TEST(page_states, go_to_one_of_several_threads_each) {
  constexpr std::size_t count = 64;
  page_states pages(count);
  for (std::size_t page = 0; page < count; ++page) protect(pages, page);
  std::atomic<std::size_t> claims{0};
  {
    std::vector<std::jthread> threads;
    for (int each = 0; each < 4; ++each)
      threads.emplace_back([&] {
        for (std::size_t page = 0; page < count; ++page)
          if (pages.claim(page)) {
            ++claims;
            pages.release(page);
          }
      });
  }
  EXPECT_EQ(claims, count);
}

}  // namespace
}  // namespace uffd::detail
