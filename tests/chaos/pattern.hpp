// SPDX-License-Identifier: MIT
// What pages hold: numbers that say whose page it is and when it was filled, none of them zero.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "choices.hpp"

namespace uffd::chaos {

// What a page is to its pager: the served range's tag and the page's number in it. It stays so
// where mremap moves it.
struct identity {
  std::uint64_t tag = 0;
  std::size_t page = 0;

  friend bool operator==(identity, identity) = default;
};

// Of pages of any size: words that are filled and checked, evenly spaced.
inline constexpr std::size_t words = 512;
// The first words of a page are for the threads that write, one for each.
inline constexpr std::size_t most_touchers = 4;

constexpr std::uint64_t upper_half(std::uint64_t number) noexcept {
  return (number | std::uint64_t{1} << 63) & ~std::uint64_t{0xFFFFFFFF};
}
// The lower half of a word counts: generations of a pager, or what a thread has written.
constexpr std::uint32_t count_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word);
}
// What the pager puts there.
constexpr std::uint64_t served_word(identity whose, std::size_t word,
                                    std::uint32_t generation) noexcept {
  return upper_half(mixed(whose.tag, whose.page, word)) | generation;
}
// What a thread writes there; `count` is never 0.
constexpr std::uint64_t written_word(identity whose, std::size_t toucher,
                                     std::uint32_t count) noexcept {
  return upper_half(mixed(~whose.tag, whose.page, toucher)) | count;
}

inline void fill(std::span<std::byte> page, identity whose, std::uint32_t generation) noexcept {
  const auto step = page.size() / words;
  for (std::size_t word = 0; word < words; ++word)
    *reinterpret_cast<std::uint64_t*>(page.data() + word * step) =
        served_word(whose, word, generation);
}

// Words of served memory. Atomic, for threads of a forked child's parent write on.
inline std::uint64_t read_word(std::uintptr_t address) noexcept {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(address))
      .load(std::memory_order_relaxed);
}
inline void write_word(std::uintptr_t address, std::uint64_t value) noexcept {
  std::atomic_ref(*reinterpret_cast<std::uint64_t*>(address))
      .store(value, std::memory_order_relaxed);
}

}  // namespace uffd::chaos
