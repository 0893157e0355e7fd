// SPDX-License-Identifier: MIT
// A process that reads pages which another one keeps.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace shared_cache {

struct reading {
  std::uint64_t bytes = 0;
  std::chrono::nanoseconds time = {};
};

// Reads all pages that the cache behind `socket` shows, and compares them with the file. Throws
// std::runtime_error that names the first byte that differs, and std::system_error.
reading read_all(const std::string& socket, const std::string& file);

// The same in another process, this program again, which says what it did. Throws
// std::runtime_error if that fails.
void read_apart(const std::string& socket, const std::string& file);

}  // namespace shared_cache
