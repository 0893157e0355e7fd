// SPDX-License-Identifier: MIT
// Whether pages can be swapped out here. No test switches swap on: it is the whole machine's.
#pragma once

#include <fstream>
#include <string>

namespace uffd::test {

// UFFDPP_REQUIRE(test::swap_space());
inline std::string swap_space() {
  std::ifstream swaps("/proc/swaps");
  std::string line;
  std::getline(swaps, line);
  return std::getline(swaps, line) ? "" : "no swap space is in use";
}

}  // namespace uffd::test
