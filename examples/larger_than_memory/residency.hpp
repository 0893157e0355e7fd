// SPDX-License-Identifier: MIT
// How much of a mapping is in memory, as the kernel says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace larger_than_memory {

// Of anonymous memory. The kernel looks at one page after the other, so what is loaded and dropped
// meanwhile may be counted both: sample where nobody touches the memory.
class residency {
 public:
  explicit residency(std::span<const std::byte> memory) noexcept : memory_(memory) {}

  // Throws std::system_error.
  void sample();
  // Bytes, the most that any sample saw.
  std::uint64_t most() const noexcept { return most_; }

 private:
  std::span<const std::byte> memory_;
  std::uint64_t most_ = 0;
};

}  // namespace larger_than_memory
