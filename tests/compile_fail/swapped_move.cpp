// SPDX-License-Identifier: MIT
// The target of a move is an address and its source a range, so that they can't be swapped.
#include <cstdint>

#include "uffd/handle.hpp"

void exchange(const uffd::handle& on, std::uintptr_t to, uffd::page_range from) {
  static_cast<void>(on.move(to, from));
#ifdef UFFDPP_MUST_NOT_COMPILE
  static_cast<void>(on.move(from, to));
#endif
}
// expect: (cannot convert|no viable conversion|could not convert).*page_range
