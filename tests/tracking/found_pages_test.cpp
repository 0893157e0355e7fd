// SPDX-License-Identifier: MIT
#include "tracking/found_pages.hpp"

#include <gtest/gtest.h>

#include <array>

namespace uffd::detail {
namespace {

TEST(found_pages, are_one_run_where_they_touch) {
  std::array<page_range, 2> buffer;
  found_pages found(buffer);
  EXPECT_TRUE(found.empty());
  EXPECT_TRUE(found.add({0x1000, 0x1000}));
  EXPECT_TRUE(found.add({0x2000, 0x2000}));
  EXPECT_TRUE(found.add({0x5000, 0x1000}));
  ASSERT_EQ(found.all().size(), 2U);
  EXPECT_EQ(found.all().front(), page_range(0x1000, 0x3000));
  EXPECT_EQ(found.all().back(), page_range(0x5000, 0x1000));
}

TEST(found_pages, grow_at_the_end_of_a_full_buffer_only) {
  std::array<page_range, 1> buffer;
  found_pages found(buffer);
  EXPECT_TRUE(found.add({0x1000, 0x1000}));
  EXPECT_EQ(found.room(), 0U);
  EXPECT_TRUE(found.add({0x2000, 0x1000}));
  EXPECT_FALSE(found.add({0x4000, 0x1000}));
  ASSERT_EQ(found.all().size(), 1U);
  EXPECT_EQ(found.all().front(), page_range(0x1000, 0x2000));
}

}  // namespace
}  // namespace uffd::detail
