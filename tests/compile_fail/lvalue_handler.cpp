// SPDX-License-Identifier: MIT
// A handler object given as an lvalue would be copied silently, and its counters lost.
// expect: no matching (function for call to|constructor for initialization of) .*fault_handler
#include "uffd/fault_handler.hpp"

struct counting {
  int faults = 0;
  uffd::resolution on_page_fault(uffd::fault& raised) {
    ++faults;
    return raised.zeropage();
  }
};

void serve() {
  counting object;
#ifdef UFFDPP_MUST_NOT_COMPILE
  uffd::fault_handler handler(object);
#else
  uffd::fault_handler handler(std::ref(object));
#endif
}
