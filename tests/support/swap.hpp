// SPDX-License-Identifier: MIT
// Whether pages can be swapped out here. No test switches swap on: it is the whole machine's.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>

#include "support/awaited.hpp"
#include "support/page_flags.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"

namespace uffd::test {

// UFFDPP_REQUIRE(test::swap_space());
inline std::string swap_space() {
  std::ifstream swaps("/proc/swaps");
  std::string line;
  std::getline(swaps, line);
  return std::getline(swaps, line) ? "" : "no swap space is in use";
}

// Swaps all of it out; false if something is still mapped in the end.
inline bool swap_out(page_range range) {
  const auto is_out = [&] {
    ::madvise(reinterpret_cast<void*>(range.begin()), range.size(), MADV_PAGEOUT);
    for (auto page = range.begin(); page < range.end(); page += page_size())
      if (has_flag(page, 63)) return false;
    return true;
  };
  return eventually(is_out);
}

}  // namespace uffd::test
