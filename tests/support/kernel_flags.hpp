// SPDX-License-Identifier: MIT
// What the kernel says of a mapping.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <fstream>
#include <ios>
#include <sstream>
#include <string>
#include <string_view>

#include "uffd/page_range.hpp"

namespace uffd::test {

// Whether /proc/self/smaps has the flag ("mg": its pages may be merged) for what is mapped there.
inline bool has_kernel_flag(std::uintptr_t address, std::string_view flag) {
  std::ifstream maps("/proc/self/smaps");
  bool is_it = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first == "VmFlags:" && is_it) {
      for (std::string each; words >> each;)
        if (each == flag) return true;
      return false;
    }
    if (const auto dash = first.find('-'); dash != std::string::npos)
      is_it = std::stoull(first, nullptr, 16) <= address &&
              address < std::stoull(first.substr(dash + 1), nullptr, 16);
  }
  return false;
}

// Lets the kernel merge pages of memory. What is lacking for that.
inline std::string let_be_merged(page_range memory) {
  auto* const begin = reinterpret_cast<void*>(memory.begin());
  return ::madvise(begin, memory.size(), MADV_MERGEABLE) == 0 ? "" : "this kernel merges no pages";
}

}  // namespace uffd::test
