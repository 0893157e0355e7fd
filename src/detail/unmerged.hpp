// SPDX-License-Identifier: MIT
// Memory that the kernel leaves alone where userfaultfd is to hear of writes.
#pragma once

#include <sys/mman.h>

#include <cerrno>

#include "uffd/error.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {

// Keeps its pages from being merged with others that hold the same (KSM), and parts those that
// were. A page that is merged loses the mark that protects it, and who writes to it is not heard of
// (Linux 6.18). Shared memory is never merged, and some kernels merge none. Throws
// std::system_error: ENOMEM where not all of it is mapped, or there is no memory to part them.
inline void keep_unmerged(page_range memory) {
  auto* const begin = reinterpret_cast<void*>(memory.begin());
  while (::madvise(begin, memory.size(), MADV_UNMERGEABLE) != 0) {
    if (errno == EINVAL) return;
    if (errno != EINTR && errno != EAGAIN)
      throw_errno(errno, "keeping memory from being merged: " + to_string(memory));
  }
}

}  // namespace uffd::detail
