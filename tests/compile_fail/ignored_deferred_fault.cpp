// SPDX-License-Identifier: MIT
// A deferred fault that nobody keeps fails at once.
// expect: (nodiscard|ignoring return)
#include "uffd/fault_handler.hpp"

#ifdef UFFDPP_MUST_NOT_COMPILE
#pragma GCC diagnostic error "-Wunused-result"
#endif

uffd::resolution answer(uffd::fault& raised) {
#ifdef UFFDPP_MUST_NOT_COMPILE
  raised.defer();
#else
  static_cast<void>(raised.defer());
#endif
  return uffd::resolution::deferred();
}
