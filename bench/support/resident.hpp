// SPDX-License-Identifier: MIT
// How much of a part of memory is resident, watched from a thread of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>

namespace uffd::bench {

// Bytes of the mappings that begin within `size` bytes from `memory`, by /proc/self/smaps.
std::size_t resident_bytes(const std::byte* memory, std::size_t size);

// Looks again and again until it is stopped, or ends.
class resident_watch {
 public:
  resident_watch(const std::byte* memory, std::size_t size);
  resident_watch(const resident_watch&) = delete;
  resident_watch& operator=(const resident_watch&) = delete;
  ~resident_watch() { stop(); }

  // The most bytes that were seen.
  std::size_t stop();

 private:
  std::atomic<bool> is_over_{false};
  std::atomic<std::size_t> most_{0};
  std::thread thread_;
};

}  // namespace uffd::bench
