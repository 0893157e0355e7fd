// SPDX-License-Identifier: MIT
// Linked into every test program, so that none can forget it.
#include "support/watchdog.hpp"
