// SPDX-License-Identifier: MIT
// Memory that the kernel leaves alone where userfaultfd is to hear of writes.
#pragma once

#include <sys/mman.h>

#include "uffd/page_range.hpp"

namespace uffd::detail {

// Keeps its pages from being merged with others that hold the same (KSM), and parts those that
// were. A page that is merged loses the mark that protects it, and who writes to it is not heard of
// (Linux 6.18). Shared memory is never merged, and some kernels merge none.
inline void keep_unmerged(page_range memory) noexcept {
  ::madvise(reinterpret_cast<void*>(memory.begin()), memory.size(), MADV_UNMERGEABLE);
}

}  // namespace uffd::detail
