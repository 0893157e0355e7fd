// SPDX-License-Identifier: MIT
// What makes the kernel send events.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>

#include "uffd/page_range.hpp"

namespace uffd::test {

// Each returns once its event was read; in a test that holds readers up, call it in a background.

inline void drop(page_range range) {
  EXPECT_EQ(::madvise(reinterpret_cast<void*>(range.begin()), range.size(), MADV_DONTNEED), 0);
}

inline void unmap(page_range range) {
  EXPECT_EQ(::munmap(reinterpret_cast<void*>(range.begin()), range.size()), 0);
}

// What was mapped at `to` is replaced.
inline void move_memory(page_range from, std::uintptr_t to) {
  EXPECT_EQ(::mremap(reinterpret_cast<void*>(from.begin()), from.size(), from.size(),
                     MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(to)),
            reinterpret_cast<void*>(to));
}

}  // namespace uffd::test
