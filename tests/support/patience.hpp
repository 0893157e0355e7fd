// SPDX-License-Identifier: MIT
// How long tests wait. No test asserts how long something took.
#pragma once

#include <chrono>

namespace uffd::test {

using namespace std::chrono_literals;

// For what must happen: generous, for slow machines, sanitizers and emulated processors.
inline constexpr std::chrono::milliseconds patience = 1s * UFFDPP_TEST_TIMEOUT / 3;

// For what must not happen: long enough that it would have happened.
inline constexpr std::chrono::milliseconds moment = 50ms;

}  // namespace uffd::test
