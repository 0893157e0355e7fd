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

// Whether there is space, and this process may use it: UFFDPP_REQUIRE(test::swap_space());
inline std::string swap_space() {
  static const bool can_swap = [] {
    std::ifstream swaps("/proc/swaps");
    std::string line;
    std::getline(swaps, line);
    if (!std::getline(swaps, line)) return false;
    const auto one = mapping::anonymous(page_size());
    one.bytes().front() = std::byte{1};
    return swap_out(one.range());
  }();
  return can_swap ? "" : "no swap space can be used";
}

}  // namespace uffd::test
