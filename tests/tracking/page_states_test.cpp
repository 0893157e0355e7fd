// SPDX-License-Identifier: MIT
#include "tracking/page_states.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace uffd::detail {
namespace {

using namespace page_bit;

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
  pages.demand(1);
  EXPECT_EQ(pages.at(1), pending | owed);
  EXPECT_TRUE(pages.claim(1));
  EXPECT_FALSE(pages.claim(1));
  EXPECT_FALSE(pages.claim_as(1, pages.at(1)));
  EXPECT_FALSE(pages.claim_to_write_unsaved(1));
  pages.release(1);
  EXPECT_EQ(pages.at(1), owed);
}

TEST(page_states, are_claimed_as_what_they_were_seen_to_be) {
  page_states pages(3);
  const auto before = pages.at(2);
  pages.demand(2);
  EXPECT_FALSE(pages.claim_as(2, before)) << "it is pending by now";
  const auto seen = pages.at(2);
  pages.set(2, stored);
  EXPECT_TRUE(pages.claim_as(2, seen)) << "other bits don't matter";
  EXPECT_EQ(pages.at(2), owed | claimed | stored);
  pages.set(2, dirty);
  pages.unclaim(2, seen);
  EXPECT_EQ(pages.at(2), pending | owed | stored | dirty);
}

TEST(page_states, that_were_not_pending_are_not_so_when_a_claim_is_taken_back) {
  page_states pages(3);
  const auto seen = pages.at(2);
  EXPECT_TRUE(pages.claim_as(2, seen));
  EXPECT_FALSE(pages.claim_as(2, seen));
  pages.unclaim(2, seen);
  EXPECT_EQ(pages.at(2), dirty);
}

TEST(page_states, are_claimed_to_write_unsaved_even_when_pending) {
  page_states pages(3);
  pages.demand(2);
  EXPECT_TRUE(pages.claim_to_write_unsaved(2));
  pages.release(2);
  EXPECT_EQ(pages.at(2), owed | dirty);
}

TEST(page_states, are_not_pending_where_nothing_is) {
  page_states pages(2);
  pages.demand(0);
  pages.set(0, stored);
  pages.pass_over(0);
  EXPECT_EQ(pages.at(0), owed | stored | dirty);
  ASSERT_TRUE(pages.claim_as(1, pages.at(1)));
  std::atomic<bool> is_passed{false};
  std::jthread passing([&] {
    pages.pass_over(1);
    is_passed = true;
  });
  std::this_thread::yield();
  EXPECT_FALSE(is_passed);
  pages.release(1);
}

TEST(page_states, are_demanded_once_nobody_is_at_them) {
  page_states pages(3);
  ASSERT_TRUE(pages.claim_as(0, pages.at(0)));
  std::atomic<bool> is_demanded{false};
  std::jthread demanding([&] {
    pages.demand(0);
    is_demanded = true;
  });
  std::this_thread::yield();
  EXPECT_FALSE(is_demanded);
  pages.release(0);
  demanding.join();
  EXPECT_EQ(pages.at(0), pending | owed);
}

TEST(page_states, are_nobodys_until_they_are_protected) {
  page_states states(3);
  EXPECT_TRUE(states.demand_unprotected(1));
  EXPECT_FALSE(states.demand_unprotected(1));
  states.demand(1);
  EXPECT_FALSE(states.claim(1)) << "a write from before the moment may be served late";
  EXPECT_FALSE(states.claim_as(1, states.at(1)));
  EXPECT_FALSE(states.claim_to_write_unsaved(1));
  states.has_protected(0, 3);
  EXPECT_TRUE(states.claim(1));
  states.has_protected(0, 3);
  EXPECT_FALSE(states.claim_as(1, states.at(1))) << "that claim is another one";
}

TEST(page_states, are_dirty_when_they_are_forgotten_unprotected) {
  page_states states(2);
  states.demand(0);
  EXPECT_TRUE(states.demand_unprotected(1));
  states.forget(0);
  states.forget(1);
  EXPECT_EQ(states.at(0), page_bit::owed);
  EXPECT_EQ(states.at(1), page_bit::owed | page_bit::dirty);
}

TEST(page_states, are_filled_to_their_borders) {
  page_states states(40);
  states.fill(0, 40, page_bit::pending);
  states.fill(3, 37, page_bit::dirty);
  for (std::size_t page = 0; page < 40; ++page)
    EXPECT_EQ(states.at(page), page >= 3 && page < 37 ? page_bit::dirty : page_bit::pending);
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
  for (std::size_t page = 0; page < count; ++page) pages.demand(page);
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
