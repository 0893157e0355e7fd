// SPDX-License-Identifier: MIT
// What is there from the start of the program to its very end.
#pragma once

namespace uffd::detail {

// A constinit object of it needs no guard, which signal handlers could not wait for, and serves
// whoever still runs while the program ends.
template <class Value>
union never_destroyed {
  constexpr never_destroyed() noexcept : value() {}
  never_destroyed(const never_destroyed&) = delete;
  never_destroyed& operator=(const never_destroyed&) = delete;
  ~never_destroyed() {}  // NOLINT(modernize-use-equals-default): that would be a deleted one

  Value value;
};

}  // namespace uffd::detail
