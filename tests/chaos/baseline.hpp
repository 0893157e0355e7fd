// SPDX-License-Identifier: MIT
// What a process has: taken before and after, to find what was not given back.
#pragma once

#include <malloc.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>
#include <string>

#include "support/awaited.hpp"
#include "support/descriptors.hpp"
#include "support/sanitizers.hpp"
#include "uffd/page_range.hpp"

namespace uffd::chaos {

struct baseline {
  std::size_t descriptors = 0;
  std::size_t threads = 0;
  std::size_t mappings = 0;
  std::size_t resident = 0;  // bytes

  static baseline now() {
    ::malloc_trim(0);
    baseline found;
    found.descriptors = test::open_descriptors();
    found.threads = test::running_threads();
    std::string line;
    for (std::ifstream maps("/proc/self/maps"); std::getline(maps, line);) ++found.mappings;
    std::size_t total = 0;
    std::ifstream("/proc/self/statm") >> total >> found.resident;
    found.resident *= page_size();
    return found;
  }

  // What there is more of than the allocator and the C library's stacks for threads to come keep:
  // nothing if all was given back.
  std::string lacking_since(const baseline& before) const {
    if (descriptors != before.descriptors) return "descriptors";
    if (threads != before.threads) return "threads";
    // Sanitizers keep what was freed, and shadows of it.
    if constexpr (!test::address_sanitizer && !test::thread_sanitizer) {
      constexpr std::size_t spare_mappings = 64;
      constexpr std::size_t spare_bytes = std::size_t{16} << 20;
      if (mappings > before.mappings + spare_mappings) return "mappings";
      if (resident > before.resident + spare_bytes) return "resident memory";
    }
    return "";
  }
};

}  // namespace uffd::chaos
