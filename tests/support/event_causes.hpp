// SPDX-License-Identifier: MIT
// What makes the kernel send events.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <string>

#include "support/memory.hpp"
#include "uffd/page_range.hpp"

namespace uffd::test {

// Each returns once its event was read; in a test that holds readers up, call it in a background.

inline void drop(page_range range) {
  EXPECT_EQ(::madvise(reinterpret_cast<void*>(range.begin()), range.size(), MADV_DONTNEED), 0);
}

// By mapping nothing over it: into a gap anybody could map, whose memory our end would unmap.
inline void unmap(page_range range) {
  void* const place = reinterpret_cast<void*>(range.begin());
  EXPECT_EQ(::mmap(place, range.size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            place);
}

// What was mapped at `to` is replaced; nothing accessible is left where the memory was, but no gap
// either.
inline void move_memory(page_range from, std::uintptr_t to, int flags = 0) {
  void* const place = reinterpret_cast<void*>(from.begin());
  EXPECT_EQ(::mremap(place, from.size(), from.size(), MREMAP_MAYMOVE | MREMAP_FIXED | flags,
                     reinterpret_cast<void*>(to)),
            reinterpret_cast<void*>(to));
  if ((flags & MREMAP_DONTUNMAP) == 0)
    ::mmap(place, from.size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}
// The same without a gap where the memory was (Linux 5.7).
inline void move_memory_and_keep_place(page_range from, std::uintptr_t to) {
  move_memory(from, to, MREMAP_DONTUNMAP);
}

// Why memory of the kind can't be dropped or moved so; huge pages can from Linux 5.18 and 5.16 on.
//   UFFDPP_REQUIRE(test::movable(GetParam()));
inline std::string droppable(memory_kind kind) {
  const memory some(kind, 1);
  return ::madvise(some.bytes().data(), some.size(), MADV_DONTNEED) == 0
             ? ""
             : "this kernel drops no such pages";
}
inline std::string movable(memory_kind kind) {
  const memory some(kind, 1);
  const memory place(kind, 1);
  void* const from = some.bytes().data();
  if (::mremap(from, some.size(), some.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
               place.bytes().data()) == MAP_FAILED)
    return "this kernel moves no such pages";
  ::mmap(from, some.size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  return "";
}

}  // namespace uffd::test
