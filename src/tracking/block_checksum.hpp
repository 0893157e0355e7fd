// SPDX-License-Identifier: MIT
// The checksums of snapshot files: XXH3 of 64 bits. Only its source sees xxHash's header.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace uffd::detail {

std::uint64_t checksum_of(std::span<const std::byte> bytes) noexcept;
// The same bytes have another one at another place.
std::uint64_t checksum_of(std::span<const std::byte> bytes, std::uint64_t place) noexcept;

// checksum_of() bytes that don't lie in one piece. Allocates nothing.
class running_checksum {
 public:
  running_checksum() noexcept;
  void add(std::span<const std::byte> bytes) noexcept;
  std::uint64_t value() const noexcept;

 private:
  alignas(64) std::array<std::byte, 576> state_{};
};

}  // namespace uffd::detail
