// SPDX-License-Identifier: MIT
#include "pager/page_table.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "pager/paging_state.hpp"

namespace uffd::detail {
namespace {

constexpr auto per_block = page_table::pages_per_block;

TEST(page_table, has_a_block_where_one_was_asked_for) {
  page_table table(10 * per_block);
  EXPECT_EQ(table.blocks(), 0U);
  auto* const block = table.at(3 * per_block + 7);
  ASSERT_NE(block, nullptr);
  EXPECT_TRUE(block->is_known());
  EXPECT_EQ(block->first_page(), 3 * per_block);
  EXPECT_EQ(table.at(3 * per_block), block);
  EXPECT_EQ(&table.existing(4 * per_block - 1), block);
  EXPECT_EQ(table.blocks(), 1U);
  EXPECT_NE(table.at(4 * per_block), block);
  EXPECT_EQ(&table.nth(0), block);
}

TEST(page_table, begins_with_pages_that_are_absent_and_cold) {
  page_table table(per_block);
  auto& block = *table.at(0);
  for (std::size_t page = 0; page < per_block; ++page) {
    EXPECT_EQ(block[page].load().state(), paging_state::absent);
    EXPECT_EQ(block[page].load().bits(), 0);
  }
}

TEST(page_table, takes_little_more_than_a_byte_for_a_page) {
  EXPECT_LE(sizeof(page_table::block) + sizeof(std::uint32_t), 2 * per_block);
}

TEST(page_table, gives_all_threads_the_same_block) {
  constexpr std::size_t blocks = 2000;
  constexpr std::size_t threads = 4;
  page_table table(blocks * per_block);
  std::vector<std::vector<page_table::block*>> seen(threads);
  std::atomic<std::size_t> ready{0};
  std::atomic<std::size_t> unknown{0};
  std::vector<std::jthread> all;
  for (auto& mine : seen)
    all.emplace_back([&] {
      ++ready;
      while (ready != threads) std::this_thread::yield();
      for (std::size_t block = 0; block < blocks; ++block) {
        mine.push_back(table.at(block * per_block));
        if (!mine.back()->is_known()) ++unknown;
      }
    });
  all.clear();
  EXPECT_EQ(unknown, 0U) << "who goes through all blocks must not miss one that is in use";
  for (const auto& mine : seen) EXPECT_EQ(mine, seen.front());
  std::size_t known = 0;
  for (std::size_t number = 0; number < table.blocks(); ++number)
    known += table.nth(number).is_known() ? 1U : 0U;
  EXPECT_EQ(known, blocks);
}

}  // namespace
}  // namespace uffd::detail
