// SPDX-License-Identifier: MIT
#include "uffd/region_info.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "support/refusal.hpp"

namespace uffd {
namespace {

static_assert(std::is_trivially_copyable_v<region_info>);
static_assert(std::is_aggregate_v<region_info>);

test::refusal refused(page_range range, std::size_t page) {
  return test::refusal_of([&] {
    detail::check_alignment({range, page, register_mode::missing, {}, 0});
  });
}

bool refused_for(page_range range, std::size_t page, const std::string& reason) {
  const auto error = refused(range, page);
  return error.number == EINVAL && error.names(reason);
}

TEST(region_info, of_whole_pages_is_accepted) {
  EXPECT_EQ(refused({4 * page_size(), 8 * page_size()}, page_size()).number, 0);
  EXPECT_EQ(refused({4 * page_size(), 8 * page_size()}, 4 * page_size()).number, 0);
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
  EXPECT_EQ(refused({last_page, 2 * page_size()}, page_size()).number, EINVAL);
}

}  // namespace
}  // namespace uffd
