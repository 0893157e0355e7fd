// SPDX-License-Identifier: MIT
// Which CPUs this process may use, and threads kept on one of them.
#pragma once

#include <vector>

namespace uffd::bench {

// A CPU number that leaves the thread to the scheduler.
inline constexpr int any_cpu = -1;

// In ascending order, never empty.
std::vector<int> allowed_cpus();

// Throws std::system_error. any_cpu: does nothing.
void pin_this_thread(int cpu);

}  // namespace uffd::bench
