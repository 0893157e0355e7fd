// SPDX-License-Identifier: MIT
// An exception can't leave a signal handler.
// expect: no matching (function for call to|constructor for initialization of) .*sigbus_handler
#include "uffd/sigbus_handler.hpp"

#ifdef UFFDPP_MUST_NOT_COMPILE
uffd::sigbus_handler handler(uffd::async_signal_safe,
                             [](uffd::fault& raised) { return raised.zeropage(); });
#else
uffd::sigbus_handler handler(uffd::async_signal_safe,
                             [](uffd::fault& raised) noexcept { return raised.zeropage(); });
#endif
