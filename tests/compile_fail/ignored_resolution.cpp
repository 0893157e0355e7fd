// SPDX-License-Identifier: MIT
// What became of a fault must be looked at.
#ifdef UFFDPP_MUST_NOT_COMPILE
#pragma GCC diagnostic error "-Wunused-result"
#endif

#include "uffd/resolve.hpp"

bool resolve(const uffd::handle& on, uffd::page_range page) {
#ifdef UFFDPP_MUST_NOT_COMPILE
  uffd::resolve::zeropage(on, page);
#endif
  return uffd::resolve::zeropage(on, page).is_resolved();
}
// expect: ignoring return(ed)? value
