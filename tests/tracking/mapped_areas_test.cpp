// SPDX-License-Identifier: MIT
#include "tracking/mapped_areas.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "support/memory.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

TEST(mapped_areas, tell_what_is_shared_and_what_has_a_file) {
  const auto memory = mapping::anonymous(3 * page_size());
  const auto file = mapping::shared(page_size());
  const page_range middle{memory.range().begin() + page_size(), page_size()};
  void* const at = memory.bytes().data() + page_size();
  ASSERT_EQ(::mmap(at, page_size(), PROT_READ, MAP_SHARED | MAP_FIXED, file.file(), 0), at);
  const auto areas = detail::mapped_areas(memory.range());
  ASSERT_EQ(areas.size(), 3U);
  EXPECT_EQ(areas[1].range, middle);
  for (const auto& area : areas) {
    EXPECT_EQ(area.is_shared, area.range == middle);
    EXPECT_EQ(area.has_inode, area.range == middle);
  }
  ASSERT_EQ(::mmap(at, page_size(), PROT_READ, MAP_PRIVATE | MAP_FIXED, file.file(), 0), at);
  const auto now_private = detail::mapped_areas(middle);
  ASSERT_EQ(now_private.size(), 1U);
  EXPECT_FALSE(now_private[0].is_shared);
  EXPECT_TRUE(now_private[0].has_inode);
}

TEST(mapped_areas, are_none_where_nothing_is) {
  EXPECT_TRUE(detail::mapped_areas(test::unmapped_page()).empty());
}

}  // namespace
}  // namespace uffd
