// SPDX-License-Identifier: MIT
#include "tracking/block_checksum.hpp"

#define XXH_INLINE_ALL  // NOLINT(readability-identifier-naming): xxHash's own
#include <xxhash.h>

#include <new>

#if XXH_VERSION_NUMBER < 800
#error "xxHash 0.8.0 or newer is needed, which has fixed what XXH3 gives"
#endif

namespace uffd::detail {

static_assert(sizeof(XXH3_state_t) <= sizeof(running_checksum));
static_assert(alignof(XXH3_state_t) <= alignof(running_checksum));

std::uint64_t checksum_of(std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t checksum_of(std::span<const std::byte> bytes, std::uint64_t place) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), place);
}

running_checksum::running_checksum() noexcept {
  XXH3_64bits_reset(new (state_.data()) XXH3_state_t);
}

void running_checksum::add(std::span<const std::byte> bytes) noexcept {
  XXH3_64bits_update(std::launder(reinterpret_cast<XXH3_state_t*>(state_.data())), bytes.data(),
                     bytes.size());
}

std::uint64_t running_checksum::value() const noexcept {
  return XXH3_64bits_digest(std::launder(reinterpret_cast<const XXH3_state_t*>(state_.data())));
}

}  // namespace uffd::detail
