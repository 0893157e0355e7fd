// SPDX-License-Identifier: MIT
// How much memory is resident, as the kernel counts it.
#pragma once

#include <malloc.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include "uffd/page_range.hpp"

namespace uffd::test {

// Bytes of the mappings of `process` that begin in `range` (Rss of /proc/PID/smaps). While others
// fault, what leaves and what comes during the walk both count.
inline std::size_t resident_bytes(page_range range, pid_t process = ::getpid()) {
  std::ifstream maps("/proc/" + std::to_string(process) + "/smaps");
  std::size_t sum = 0;
  bool is_ours = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::size_t kilobytes = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2)
      is_ours = begin >= range.begin() && begin < range.end();
    else if (is_ours && std::sscanf(line.c_str(), "Rss: %zu kB", &kilobytes) == 1)
      sum += kilobytes << 10;
  }
  return sum;
}

// Bytes of this process, without what its allocator could give back.
inline std::size_t resident_bytes() {
  ::malloc_trim(0);
  std::size_t total = 0;
  std::size_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * page_size();
}

}  // namespace uffd::test
