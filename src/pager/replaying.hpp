// SPDX-License-Identifier: MIT
// What a working set makes a mapping read, and in which parts.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "pager/readahead.hpp"
#include "uffd/pager/working_set.hpp"

namespace uffd::detail {

struct reading_plan {
  std::size_t page_size = 0;
  std::size_t gap = 0;   // pages: so many between two parts are read too
  std::size_t most = 0;  // pages in a part, which crosses no multiple of it
};

// The pages that have a byte of `runs`, which ascend and don't overlap. Throws std::bad_alloc.
std::vector<page_run> parts_to_read(std::span<const working_set::run> runs,
                                    const reading_plan& plan);

}  // namespace uffd::detail
