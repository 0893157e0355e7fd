// SPDX-License-Identifier: MIT
// What descriptors this process has open.
#pragma once

#include <fcntl.h>

#include <cstddef>
#include <filesystem>
#include <iterator>

namespace uffd::test {

// How many, to find leaks by comparing.
inline std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

inline bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; }

}  // namespace uffd::test
