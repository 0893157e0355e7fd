// SPDX-License-Identifier: MIT
#include "support/resident.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

namespace uffd::bench {

std::size_t resident_bytes(const std::byte* memory, std::size_t size) {
  const auto first = reinterpret_cast<std::uintptr_t>(memory);
  std::ifstream maps("/proc/self/smaps");
  std::size_t sum = 0;
  bool is_ours = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::size_t kilobytes = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2)
      is_ours = begin >= first && begin - first < size;
    else if (is_ours && std::sscanf(line.c_str(), "Rss: %zu kB", &kilobytes) == 1)
      sum += kilobytes << 10;
  }
  return sum;
}

resident_watch::resident_watch(const std::byte* memory, std::size_t size)
    : thread_([this, memory, size] {
        while (!is_over_) {
          most_ = std::max(most_.load(), resident_bytes(memory, size));
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
      }) {}

std::size_t resident_watch::stop() {
  is_over_ = true;
  if (thread_.joinable()) thread_.join();
  return most_;
}

}  // namespace uffd::bench
