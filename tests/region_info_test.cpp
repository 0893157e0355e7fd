// SPDX-License-Identifier: MIT
#include "uffd/region_info.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <system_error>
#include <type_traits>

namespace uffd {
namespace {

static_assert(std::is_trivially_copyable_v<region_info>);
static_assert(std::is_aggregate_v<region_info>);

std::string words_of_refusal(page_range range, std::size_t page) {
  try {
    detail::check_alignment({range, page, register_mode::missing, {}, 0});
    return "";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::invalid_argument);
    return error.what();
  }
}

bool refused_for(page_range range, std::size_t page, const std::string& reason) {
  return words_of_refusal(range, page).find(reason) != std::string::npos;
}

TEST(region_info, of_whole_pages_is_accepted) {
  EXPECT_EQ(words_of_refusal({4 * page_size(), 8 * page_size()}, page_size()), "");
  EXPECT_EQ(words_of_refusal({4 * page_size(), 8 * page_size()}, 4 * page_size()), "");
}

TEST(region_info, page_size_must_be_one) {
  for (const std::size_t page : {std::size_t{0}, std::size_t{1}, page_size() / 2, 3 * page_size()})
    EXPECT_TRUE(refused_for({0, page_size()}, page, "no page size")) << page;
}

TEST(region_info, range_must_not_be_empty) {
  EXPECT_TRUE(refused_for({page_size(), 0}, page_size(), "empty"));
}

TEST(region_info, range_must_be_aligned_to_its_own_pages) {
  EXPECT_TRUE(refused_for({1, page_size()}, page_size(), "not aligned"));
  EXPECT_TRUE(refused_for({0, page_size() + 1}, page_size(), "not aligned"));
  EXPECT_TRUE(refused_for({page_size(), 4 * page_size()}, 4 * page_size(), "not aligned"));
}

TEST(region_info, range_must_not_pass_the_last_address) {
  const auto last_page = align_down(std::numeric_limits<std::uintptr_t>::max(), page_size());
  EXPECT_NE(words_of_refusal({last_page, 2 * page_size()}, page_size()), "");
}

}  // namespace
}  // namespace uffd
