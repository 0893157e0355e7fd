// SPDX-License-Identifier: MIT
// A callback that runs inside a signal handler must be declared to be fit for that.
// expect: no matching (function for call to|constructor for initialization of) .*sigbus_handler
#include "uffd/sigbus_handler.hpp"

#ifdef UFFDPP_MUST_NOT_COMPILE
uffd::sigbus_handler handler([](uffd::fault& raised) noexcept { return raised.zeropage(); });
#else
uffd::sigbus_handler handler(uffd::async_signal_safe,
                             [](uffd::fault& raised) noexcept { return raised.zeropage(); });
#endif
