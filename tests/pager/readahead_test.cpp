// SPDX-License-Identifier: MIT
#include "pager/readahead.hpp"

#include <gtest/gtest.h>

#include <cstddef>

namespace uffd::detail {
namespace {

constexpr std::size_t pages = 100'000;

class readahead_of_single_pages : public testing::Test {
 protected:
  page_run at(std::size_t page) { return windows_.window(page, pages); }

  readahead windows_{access_pattern::automatic, 1, 16, 512};
};

TEST_F(readahead_of_single_pages, reads_one_at_random) {
  for (const std::size_t page : {5U, 70U, 3U, 1000U, 500U}) {
    EXPECT_EQ(at(page).first, page);
    EXPECT_EQ(at(page + 3).count, 1U);
  }
}

TEST_F(readahead_of_single_pages, reads_ever_more_of_what_follows) {
  std::size_t page = 10;
  for (const std::size_t count : {1U, 16U, 32U, 64U, 128U, 256U, 5U, 512U, 512U}) {
    const auto run = at(page);
    EXPECT_EQ(run.first, page);
    EXPECT_EQ(run.count, count);
    page = run.end();
  }
}

TEST_F(readahead_of_single_pages, follows_four_at_once) {
  std::size_t next[4] = {0, 10'000, 20'000, 30'000};
  for (int round = 0; round < 5; ++round)
    for (auto& page : next) page = at(page).end();
  for (std::size_t i = 0; i < 4; ++i) EXPECT_GT(at(next[i]).count, 100U) << i;
}

TEST_F(readahead_of_single_pages, ends_with_the_mapping) {
  EXPECT_EQ(windows_.window(7, 8).count, 1U);
  windows_.expect(access_pattern::sequential);
  EXPECT_EQ(windows_.window(5, 8).end(), 8U);
}

TEST_F(readahead_of_single_pages, does_as_it_is_told) {
  windows_.expect(access_pattern::sequential);
  EXPECT_EQ(at(77).end(), 512U);
  windows_.expect(access_pattern::random);
  EXPECT_EQ(at(512).count, 1U);
}

TEST_F(readahead_of_single_pages, goes_four_windows_ahead_of_who_reads_in_order) {
  EXPECT_EQ(windows_.ahead(pages).count, 0U);
  windows_.expect(access_pattern::sequential);
  ASSERT_EQ(at(0).count, 512U);
  for (std::size_t window = 1; window <= 3; ++window) {
    const auto run = windows_.ahead(pages);
    EXPECT_EQ(run.first, window * 512);
    EXPECT_EQ(run.count, 512U);
  }
  EXPECT_EQ(windows_.ahead(pages).count, 0U);
  windows_.touch(512);
  EXPECT_EQ(windows_.ahead(pages).first, 4 * 512U);
  EXPECT_EQ(windows_.ahead(pages).count, 0U);
}

TEST_F(readahead_of_single_pages, goes_ahead_to_the_end_and_not_at_random) {
  windows_.expect(access_pattern::sequential);
  ASSERT_EQ(windows_.window(0, 600).count, 512U);
  EXPECT_EQ(windows_.ahead(600).count, 88U);
  EXPECT_EQ(windows_.ahead(600).count, 0U);
  windows_.expect(access_pattern::random);
  ASSERT_EQ(at(0).count, 1U);
  EXPECT_EQ(windows_.ahead(pages).count, 0U);
}

TEST_F(readahead_of_single_pages, lets_who_comes_first_read_what_is_due) {
  windows_.expect(access_pattern::sequential);
  ASSERT_EQ(at(0).count, 512U);
  ASSERT_EQ(windows_.ahead(pages).first, 512U);
  EXPECT_EQ(at(512).count, 512U) << "nobody has begun to";
  EXPECT_EQ(windows_.ahead(pages).first, 1024U);
}

TEST(readahead, of_units_as_large_as_windows_waits_for_the_second_touch) {
  readahead ahead(access_pattern::automatic, 1, 1, 1);
  EXPECT_EQ(ahead.window(10, 100).count, 1U);
  EXPECT_EQ(ahead.ahead(100).count, 0U);
  EXPECT_EQ(ahead.window(30, 100).count, 1U);
  EXPECT_EQ(ahead.ahead(100).count, 0U);
  EXPECT_EQ(ahead.window(31, 100).count, 1U);
  EXPECT_EQ(ahead.ahead(100).first, 32U);
}

TEST(readahead, keeps_to_its_unit) {
  readahead windows(access_pattern::automatic, 8, 4, 64);
  EXPECT_EQ(windows.window(13, pages).first, 8U);
  EXPECT_EQ(windows.window(30, pages).count, 8U);
  EXPECT_EQ(windows.window(32, pages).count, 16U) << "follows";
}

}  // namespace
}  // namespace uffd::detail
