// SPDX-License-Identifier: MIT
#include "detail/stuck_pages.hpp"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace uffd::detail
