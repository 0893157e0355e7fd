// SPDX-License-Identifier: MIT
// Choices that can be made again: the same numbers give the same choices, whatever the timing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace uffd::chaos {

// Spreads each bit of the number over all of them.
constexpr std::uint64_t scrambled(std::uint64_t number) noexcept {
  number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9;
  number = (number ^ (number >> 27)) * 0x94D049BB133111EB;
  return number ^ (number >> 31);
}

// One number for several, in their order.
template <class... Numbers>
constexpr std::uint64_t mixed(std::uint64_t first, Numbers... others) noexcept {
  std::uint64_t result = scrambled(first + 0x9E3779B97F4A7C15);
  ((result = scrambled(result + 0x9E3779B97F4A7C15 * (1 + 2 * static_cast<std::uint64_t>(others)))),
   ...);
  return result;
}

// A sequence of choices.
class choices {
 public:
  explicit constexpr choices(std::uint64_t seed) noexcept : state_(seed) {}

  constexpr std::uint64_t next() noexcept { return scrambled(state_ += 0x9E3779B97F4A7C15); }
  // From 0 to bound - 1.
  constexpr std::size_t below(std::size_t bound) noexcept {
    return static_cast<std::size_t>(next() % bound);
  }
  constexpr std::size_t between(std::size_t least, std::size_t most) noexcept {
    return least + below(most - least + 1);
  }
  constexpr bool one_in(std::size_t bound) noexcept { return below(bound) == 0; }

 private:
  std::uint64_t state_;
};

}  // namespace uffd::chaos
