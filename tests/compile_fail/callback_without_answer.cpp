// SPDX-License-Identifier: MIT
// A callback that forgets to say what became of the fault.
// expect: no matching (function for call to|constructor for initialization of) .*fault_handler
#include "uffd/fault_handler.hpp"

#ifdef UFFDPP_MUST_NOT_COMPILE
uffd::fault_handler handler([](uffd::fault& raised) { static_cast<void>(raised.zeropage()); });
#else
uffd::fault_handler handler([](uffd::fault& raised) { return raised.zeropage(); });
#endif
