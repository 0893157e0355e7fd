// SPDX-License-Identifier: MIT
#include "uffd/pager/map_options.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <functional>

#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/sight.hpp"
#include "uffd/page_range.hpp"
#include "uffd/pager/pager.hpp"

namespace uffd {
namespace {

// What who gives none gets.
TEST(map_options, by_default_read_single_small_pages_that_can_not_be_written) {
  const test::counted_source source(64 * page_size());
  const pager pager;
  const auto memory = pager.map(std::ref(source), map_options());
  EXPECT_EQ(memory.page_size(), page_size());
  for (const std::size_t page : {40U, 10U}) {
    const auto offset = page * page_size();
    EXPECT_EQ(test::look_at(memory, offset), test::shows_source(offset));
  }
  EXPECT_EQ(source.bytes_read(), 2 * page_size());
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.writable_bytes()); }), EROFS);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.share({})); }), EINVAL) << "it is private";
}

}  // namespace
}  // namespace uffd
