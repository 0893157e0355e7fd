// SPDX-License-Identifier: MIT
// What paged_memory::share() sends to shared_pages, with the descriptor of the pages' file. Numbers
// are little-endian:
//
//     8  "uffdshar"
//     8  version: 1
//     8  bytes of the source
//     8  bytes of a page
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace uffd::detail {

inline constexpr std::size_t sharing_message_size = 32;

struct sharing_message {
  std::uint64_t size = 0;
  std::uint64_t page_size = 0;
};

std::array<std::byte, sharing_message_size> encode(const sharing_message& message) noexcept;
// False for what is none, is of another version, or has no pages of this system.
bool decode(std::span<const std::byte, sharing_message_size> bytes,
            sharing_message& message) noexcept;

}  // namespace uffd::detail
