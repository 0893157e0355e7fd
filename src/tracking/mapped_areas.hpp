// SPDX-License-Identifier: MIT
// What is mapped, as /proc/self/maps has it.
#pragma once

#include <vector>

#include "uffd/page_range.hpp"

namespace uffd::detail {

struct mapped_area {
  page_range range;
  bool is_shared = false;
  bool has_inode = false;  // System V shared memory may have none either
};

// Those that overlap `memory`, ascending. Throws std::system_error.
std::vector<mapped_area> mapped_areas(page_range memory);

}  // namespace uffd::detail
