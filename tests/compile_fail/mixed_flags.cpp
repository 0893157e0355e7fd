// SPDX-License-Identifier: MIT
// Flags of different types make no set.
#include "uffd/flags.hpp"

auto modes() {
#ifdef UFFDPP_MUST_NOT_COMPILE
  return uffd::register_mode::missing | uffd::feature::minor_shmem;
#else
  return uffd::register_mode::missing | uffd::register_mode::minor;
#endif
}
// expect: (no match for .operator\||invalid operands)
