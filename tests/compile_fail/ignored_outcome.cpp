// SPDX-License-Identifier: MIT
// What the kernel answered on the fault path must be looked at.
#ifdef UFFDPP_MUST_NOT_COMPILE
#pragma GCC diagnostic error "-Wunused-result"
#endif

#include "uffd/handle.hpp"

void resolve(const uffd::handle& on, uffd::page_range page) {
  static_cast<void>(on.zeropage(page));
  if (!on.poison(page)) return;
#ifdef UFFDPP_MUST_NOT_COMPILE
  on.zeropage(page);
#endif
}
// expect: ignoring return(ed)? value
