// SPDX-License-Identifier: MIT
// Memory that is all zeroes.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace uffd::detail {

// Each byte is as the one before it, and the first is zero. Ends at the first that is not.
inline bool is_zero(std::span<const std::byte> bytes) noexcept {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace uffd::detail
