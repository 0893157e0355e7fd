// SPDX-License-Identifier: MIT
#include "pager/eviction_hand.hpp"

#include <gtest/gtest.h>

namespace uffd::detail {
namespace {

page_word there(unsigned heat) { return page_word().with(paging_state::clean).with_heat(heat); }
page_word gone(unsigned heat) { return page_word().with_heat(heat); }

TEST(eviction_hand, takes_what_is_cold) {
  eviction_hand hand;
  auto cold = there(0);
  auto warm = there(1);
  EXPECT_TRUE(hand.takes(cold));
  EXPECT_FALSE(hand.takes(warm));
}

TEST(eviction_hand, tolerates_more_where_it_finds_too_little) {
  eviction_hand hand;
  for (unsigned turn = 0; turn < 3; ++turn) {
    auto warm = there(3);
    EXPECT_FALSE(hand.takes(warm)) << turn;
    hand.begin_turn();
  }
  auto warm = there(3);
  EXPECT_TRUE(hand.takes(warm));
  hand.begin_turn();
  EXPECT_FALSE(hand.takes(warm)) << "and less where it finds enough";
}

TEST(eviction_hand, takes_anything_in_the_end) {
  eviction_hand hand;
  unsigned turns = 0;
  for (auto hottest = there(page_word::most_heat); !hand.takes(hottest); ++turns) hand.begin_turn();
  EXPECT_LE(turns, page_word::most_heat);
}

TEST(eviction_hand, lets_what_is_gone_cool_down) {
  eviction_hand hand;
  auto word = gone(3);
  for (int turn = 0; turn < 6; ++turn) {
    word = hand.passes_gone(word);
    hand.begin_turn();
  }
  EXPECT_EQ(word.heat(), 0U);
}

TEST(eviction_hand, lets_what_stays_cool_down_too) {
  eviction_hand hand;
  auto word = there(page_word::most_heat);
  for (int turn = 0; turn < 10; ++turn) {
    auto other = there(0);
    static_cast<void>(hand.takes(other));
    static_cast<void>(hand.takes(word));
    hand.begin_turn();
  }
  EXPECT_EQ(word.heat(), page_word::most_heat);
  for (int turn = 0; turn < 10; ++turn) {
    auto other = there(0);
    static_cast<void>(hand.takes(other));
    static_cast<void>(hand.takes(word));
    hand.begin_turn();
  }
  EXPECT_LT(word.heat(), page_word::most_heat);
}

}  // namespace
}  // namespace uffd::detail
