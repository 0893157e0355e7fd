// SPDX-License-Identifier: MIT
// A clock that goes on evenly, for signal handlers too.
#pragma once

#include <chrono>
#include <cstdint>

namespace uffd::detail {

inline std::int64_t monotonic_nanoseconds() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace uffd::detail
