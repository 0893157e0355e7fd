// SPDX-License-Identifier: MIT
// A lambda that takes anything would be called for every event; the diagnostic says what to write.
// expect: write_the_parameter_type_of_this_callback
#include "uffd/fault_handler.hpp"

#ifdef UFFDPP_MUST_NOT_COMPILE
uffd::fault_handler handler([](auto& raised) { return raised.zeropage(); });
#else
uffd::fault_handler handler([](uffd::fault& raised) { return raised.zeropage(); });
#endif
