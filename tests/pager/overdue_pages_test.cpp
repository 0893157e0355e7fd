// SPDX-License-Identifier: MIT
#include "pager/overdue_pages.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <thread>

#include "support/awaited.hpp"

namespace uffd::detail {
namespace {

using namespace std::chrono_literals;

TEST(overdue_pages, are_those_tried_for_too_long) {
  overdue_pages pages(20ms);
  EXPECT_FALSE(pages.is_overdue(0));
  EXPECT_TRUE(test::eventually([&] { return pages.is_overdue(0); }));
  EXPECT_FALSE(pages.is_overdue(1)) << "each by itself";
}

TEST(overdue_pages, begin_anew_once_forgotten) {
  overdue_pages pages(20ms);
  EXPECT_TRUE(test::eventually([&] { return pages.is_overdue(7); }));
  pages.forget(7);
  EXPECT_FALSE(pages.is_overdue(7));
}

TEST(overdue_pages, are_forgotten_with_their_neighbours) {
  overdue_pages pages(20ms);
  for (const std::size_t page : {2U, 3U, 4U, 5U})
    EXPECT_TRUE(test::eventually([&] { return pages.is_overdue(page); }));
  pages.forget(3, 2);
  EXPECT_FALSE(pages.is_overdue(3));
  EXPECT_FALSE(pages.is_overdue(4));
  EXPECT_TRUE(pages.is_overdue(2));
  EXPECT_TRUE(pages.is_overdue(5));
}

TEST(overdue_pages, are_not_those_that_nobody_tried_meanwhile) {
  overdue_pages pages(100ms);
  EXPECT_FALSE(pages.is_overdue(0));
  std::this_thread::sleep_for(500ms);
  EXPECT_FALSE(pages.is_overdue(0));
  EXPECT_TRUE(test::eventually([&] { return pages.is_overdue(0); }));
}

TEST(overdue_pages, are_all_at_once_without_patience) {
  overdue_pages pages(0ms);
  EXPECT_TRUE(pages.is_overdue(3));
}

TEST(overdue_pages, are_tried_on_where_there_are_too_many) {
  overdue_pages pages(1h);
  for (std::size_t page = 0; page < 1000; ++page) EXPECT_FALSE(pages.is_overdue(page));
  for (std::size_t page = 0; page < 1000; ++page) pages.forget(page);
  EXPECT_FALSE(pages.is_overdue(2000));
}

}  // namespace
}  // namespace uffd::detail
