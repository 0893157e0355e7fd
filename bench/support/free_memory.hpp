// SPDX-License-Identifier: MIT
// Memory that nobody uses, and how long the first use of it takes.
#pragma once

#include <sys/mman.h>

#include <cstddef>

#include "uffd/mapping.hpp"

namespace uffd::bench {

// Uses memory and frees it again, so that whoever is next gets it as fast as any. The hypervisor of
// a virtual machine takes free memory away after some seconds (free page reporting); to bring 2 MiB
// of it back took ten times as long here as to read them from the page cache.
inline void bring_free_memory(std::size_t bytes) {
  const auto memory = mapping::anonymous(bytes);
  const auto all = memory.bytes();
  ::madvise(all.data(), all.size(), MADV_HUGEPAGE);
  ::madvise(all.data(), all.size(), MADV_POPULATE_WRITE);
}

}  // namespace uffd::bench
