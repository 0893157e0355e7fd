// SPDX-License-Identifier: MIT
#include "tracking/block_checksum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <vector>

namespace uffd::detail {
namespace {

// What xxHash's own tests hash, and what they expect of it.
std::vector<std::byte> sanity_bytes(std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint64_t generator = 2654435761U;
  for (auto& byte : bytes) {
    byte = static_cast<std::byte>(generator >> 56U);
    generator *= 11400714785074694797U;
  }
  return bytes;
}

TEST(block_checksum, is_xxh3) {
  EXPECT_EQ(checksum_of({}), 0x2D06800538D394C2U);
  EXPECT_EQ(checksum_of(sanity_bytes(1)), 0xC44BDFF4074EECDBU);
  EXPECT_EQ(checksum_of(sanity_bytes(2048)), 0xDD59E2C3A5F038E0U);
  EXPECT_EQ(checksum_of(sanity_bytes(2048), 0x9E3779B185EBCA8DU), 0x66F81670669ABABCU);
}

TEST(block_checksum, is_the_same_in_pieces) {
  const auto bytes = sanity_bytes(65'536);
  for (const std::size_t piece : std::initializer_list<std::size_t>{1, 511, 512, 4096, 65'536}) {
    running_checksum sum;
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      sum.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    EXPECT_EQ(sum.value(), checksum_of(bytes)) << piece;
  }
}

}  // namespace
}  // namespace uffd::detail
