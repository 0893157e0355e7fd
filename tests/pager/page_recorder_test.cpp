// SPDX-License-Identifier: MIT
#include "pager/page_recorder.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace uffd::detail {
namespace {

constexpr std::size_t pages = 1'000'000;

class recorder_of_pages : public testing::Test {
 protected:
  // Each begins where the one before has ended.
  void read_in_order(int windows) {
    for (; windows != 0; --windows) next_ += windows_.window(next_, pages).count;
  }
  std::size_t noted() const {
    std::size_t sum = 0;
    for (const auto run : recorder_.noted()) sum += run.count;
    return sum;
  }

  page_recorder recorder_{pages};
  readahead windows_{access_pattern::automatic, 1, 16, 512};
  std::size_t next_ = 0;
};

TEST_F(recorder_of_pages, notes_nothing_until_it_begins) {
  recorder_.note(5);
  recorder_.note({7, 3});
  EXPECT_TRUE(recorder_.noted().empty());
  ASSERT_TRUE(recorder_.begin());
  EXPECT_TRUE(recorder_.noted().empty());
}

TEST_F(recorder_of_pages, tells_runs_in_order) {
  ASSERT_TRUE(recorder_.begin());
  EXPECT_FALSE(recorder_.begin()) << "twice";
  for (const std::size_t page : {pages - 1, std::size_t{70}, std::size_t{0}, std::size_t{71}})
    recorder_.note(page);
  // Over the border between two words, and between two stretches of bits.
  recorder_.note({60, 10});
  recorder_.note({32'760, 20});
  const auto runs = recorder_.noted();
  ASSERT_EQ(runs.size(), 4U);
  const std::size_t expected[][2] = {{0, 1}, {60, 12}, {32'760, 20}, {pages - 1, 1}};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(runs[i].first, expected[i][0]);
    EXPECT_EQ(runs[i].count, expected[i][1]);
  }
}

TEST_F(recorder_of_pages, begins_anew_each_time) {
  for (std::size_t page = 0; page < 3; ++page) {
    ASSERT_TRUE(recorder_.begin());
    recorder_.note(1000 * page);
    ASSERT_EQ(recorder_.noted().size(), 1U);
    EXPECT_EQ(recorder_.noted()[0].first, 1000 * page);
    recorder_.end();
    EXPECT_TRUE(recorder_.noted().empty());
  }
}

TEST_F(recorder_of_pages, leaves_reading_ahead_alone_while_it_is_off) {
  read_in_order(10);
  EXPECT_GT(recorder_.window(windows_, next_).count, 1U);
  EXPECT_NE(recorder_.window_ahead(windows_).count, 0U);
}

TEST_F(recorder_of_pages, lets_nothing_be_read_ahead_unseen) {
  read_in_order(10);
  ASSERT_TRUE(recorder_.begin());
  EXPECT_EQ(recorder_.window_ahead(windows_).count, 0U);
  EXPECT_EQ(recorder_.window(windows_, next_).count, 1U);
  EXPECT_EQ(noted(), 1U);
}

TEST_F(recorder_of_pages, notes_what_is_read_ahead_where_all_is_wanted) {
  windows_.expect(access_pattern::sequential);
  ASSERT_TRUE(recorder_.begin());
  EXPECT_EQ(recorder_.window(windows_, 512).count, 512U);
  EXPECT_EQ(recorder_.window_ahead(windows_).count, 0U);
  EXPECT_EQ(noted(), 512U);
}

}  // namespace
}  // namespace uffd::detail
