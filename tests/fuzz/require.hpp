// SPDX-License-Identifier: MIT
// What must hold for every input: the fuzzer stops and keeps the input where it does not.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <type_traits>

namespace uffd::fuzz {

inline void require(bool holds) {
  if (!holds) std::abort();
}

// Takes a value off the front of the input; zeroes where that ends.
template <class Value>
Value take(std::span<const std::uint8_t>& input) {
  static_assert(std::is_trivially_copyable_v<Value>);
  Value value{};
  const auto size = input.size() < sizeof value ? input.size() : sizeof value;
  if (size != 0) std::memcpy(&value, input.data(), size);
  input = input.subspan(size);
  return value;
}

}  // namespace uffd::fuzz
