// SPDX-License-Identifier: MIT
#include "detail/stuck_pages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace uffd::detail {
namespace {

constexpr std::uintptr_t page = 0x7f00'0020'0000;

class stuck_pages_of_two_spaces : public testing::Test {
 protected:
  // How many answers in a row are needed until one is told.
  std::uint32_t told_after(const void* space, std::uintptr_t at) {
    for (std::uint32_t count = 1; count <= 2 * stuck_pages::patience; ++count)
      if (pages_.unchanged(space, at)) return count;
    return 0;
  }

  stuck_pages pages_;
  const int one_ = 0;
  const int other_ = 0;
};

TEST_F(stuck_pages_of_two_spaces, are_told_again_and_again) {
  EXPECT_FALSE(pages_.are_any());
  EXPECT_EQ(told_after(&one_, page), stuck_pages::patience);
  EXPECT_EQ(told_after(&one_, page), stuck_pages::patience);
}

TEST_F(stuck_pages_of_two_spaces, are_counted_since_something_changed) {
  for (std::uint32_t i = 1; i < stuck_pages::patience; ++i)
    ASSERT_FALSE(pages_.unchanged(&one_, page));
  EXPECT_TRUE(pages_.are_any());
  pages_.changed(&one_, page);
  EXPECT_EQ(told_after(&one_, page), stuck_pages::patience);
}

TEST_F(stuck_pages_of_two_spaces, do_not_share_a_count) {
  for (std::uint32_t i = 1; i < stuck_pages::patience; ++i)
    ASSERT_FALSE(pages_.unchanged(&one_, page));
  pages_.changed(&other_, page);
  EXPECT_TRUE(pages_.unchanged(&one_, page));
  for (std::uint32_t i = 1; i < stuck_pages::patience; ++i)
    ASSERT_FALSE(pages_.unchanged(&one_, page));
  EXPECT_FALSE(pages_.unchanged(&other_, page));
  EXPECT_FALSE(pages_.unchanged(&one_, page + 0x20'0000));
}

// How many turns of all are needed until each was told.
template <std::size_t Count>
std::uint32_t turns_until_all_are_told(stuck_pages& pages,
                                       const std::array<std::uintptr_t, Count>& all) {
  const int space = 0;
  std::array<bool, Count> told{};
  for (std::uint32_t turn = 1; turn <= 8 * stuck_pages::patience; ++turn) {
    for (std::size_t i = 0; i < Count; ++i) told[i] = pages.unchanged(&space, all[i]) || told[i];
    if (std::find(told.begin(), told.end(), false) == told.end()) return turn;
  }
  return 0;
}

class stuck_pages_that_share_a_place : public testing::Test {
 protected:
  static constexpr std::uintptr_t size = 0x20'0000;
  static constexpr std::uintptr_t most = 2000;  // pages, of which some must share one
};

TEST_F(stuck_pages_that_share_a_place, are_all_told_though_they_take_turns) {
  for (std::uintptr_t other = 1; other <= most; ++other) {
    stuck_pages pages;
    ASSERT_NE(turns_until_all_are_told<2>(pages, {page, page + other * size}), 0U) << other;
  }
}

// As one that was resolved otherwise.
TEST_F(stuck_pages_that_share_a_place, are_told_though_one_comes_no_more) {
  const int space = 0;
  for (std::uintptr_t other = 1; other <= most; ++other) {
    stuck_pages pages;
    ASSERT_FALSE(pages.unchanged(&space, page));
    ASSERT_NE(turns_until_all_are_told<1>(pages, {page + other * size}), 0U) << other;
  }
}

}  // namespace
}  // namespace uffd::detail
