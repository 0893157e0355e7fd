// SPDX-License-Identifier: MIT
#include "pager/paging_state.hpp"

#include <gtest/gtest.h>

namespace uffd::detail {
namespace {

TEST(page_word, keeps_apart_what_it_holds) {
  const auto word = page_word().with(paging_state::failed).with_pin(true).with_heat(9);
  EXPECT_EQ(word.state(), paging_state::failed);
  EXPECT_TRUE(word.is_pinned());
  EXPECT_EQ(word.heat(), 9U);
  const auto other = word.with(paging_state::absent).with_pin(false);
  EXPECT_EQ(other.state(), paging_state::absent);
  EXPECT_FALSE(other.is_pinned());
  EXPECT_EQ(other.heat(), 9U);
}

TEST(page_word, gets_no_hotter_than_it_can) {
  EXPECT_EQ(page_word().with_heat(99).heat(), page_word::most_heat);
}

TEST(page_entry, changes_from_one_state_only) {
  page_entry entry;
  EXPECT_FALSE(entry.change(paging_state::clean, paging_state::leaving));
  EXPECT_TRUE(entry.change(paging_state::absent, paging_state::loading));
  EXPECT_EQ(entry.load().state(), paging_state::loading);
}

TEST(page_entry, tells_what_it_has_become_instead) {
  page_entry entry;
  page_word seen(1);
  EXPECT_FALSE(entry.change(seen, page_word(2)));
  EXPECT_EQ(seen.bits(), 0);
  EXPECT_TRUE(entry.change(seen, page_word(2)));
  EXPECT_EQ(entry.update([](page_word word) { return word.with_pin(true); }).bits(), 10);
}

}  // namespace
}  // namespace uffd::detail
