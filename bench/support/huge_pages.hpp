// SPDX-License-Identifier: MIT
// The huge pages that are reserved on this machine.
#pragma once

#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

namespace uffd::bench {

struct huge_page_pool {
  std::size_t page_size = 0;
  std::size_t free = 0;
};

// Of the default size.
inline huge_page_pool reserved_huge_pages() {
  huge_page_pool pool;
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    std::size_t value = 0;
    words >> key >> value;
    if (key == "Hugepagesize:") pool.page_size = value << 10;
    if (key == "HugePages_Free:") pool.free = value;
  }
  return pool;
}

}  // namespace uffd::bench
