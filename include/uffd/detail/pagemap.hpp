// SPDX-License-Identifier: MIT
// Finds the pages of this process that are not there, by PAGEMAP_SCAN (Linux 6.7).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {

// Calls `each(page_range)` for every run of pages that are neither present nor swapped (poison and
// write-protect markers count as swapped). Answers 0 or an errno; ENOTTY: this kernel has no scan.
// `each` must not change which pages are there beyond the run it was given.
template <class Each>
int for_each_hole(page_range range, Each&& each) noexcept {
  const file_to_read pagemap("/proc/self/pagemap");
  if (pagemap.error() != 0) return pagemap.error();
  std::array<uapi::page_region, 64> found{};
  uapi::pagemap_scan scan{};
  scan.size = sizeof scan;
  scan.start = range.begin();
  scan.end = range.end();
  scan.vector = page_range(std::span(found)).begin();
  scan.vector_length = found.size();
  // Both bits inverted and demanded: neither present nor swapped.
  scan.category_inverted = uapi::pagemap::present | uapi::pagemap::swapped;
  scan.category_mask = scan.category_inverted;
  scan.return_mask = scan.category_inverted;
  while (scan.start < scan.end) {
    const int count = call_ioctl(pagemap.get(), uapi::pagemap::scan, &scan);
    if (count < 0) return -count;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      each(range_between(found[i].start, found[i].end));
    if (count == 0 || scan.walk_end <= scan.start) break;
    scan.start = scan.walk_end;
  }
  return 0;
}

}  // namespace uffd::detail
