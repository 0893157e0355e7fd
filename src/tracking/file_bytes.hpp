// SPDX-License-Identifier: MIT
// All of some bytes of a file, read or written.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "uffd/tracking/snapshot_file.hpp"

namespace uffd::detail {

// snapshot_error::truncated where the file ends before.
inline std::error_code read_bytes(int file, std::uint64_t offset,
                                  std::span<std::byte> to) noexcept {
  while (!to.empty()) {
    const auto count = ::pread(file, to.data(), to.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {errno, std::system_category()};
    if (count == 0) return snapshot_error::truncated;
    to = to.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

inline std::error_code write_bytes(int file, std::uint64_t offset,
                                   std::span<const std::byte> from) noexcept {
  while (!from.empty()) {
    const auto count = ::pwrite(file, from.data(), from.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return {count == 0 ? EIO : errno, std::system_category()};
    from = from.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

}  // namespace uffd::detail
