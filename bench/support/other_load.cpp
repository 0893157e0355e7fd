// SPDX-License-Identifier: MIT
#include "support/other_load.hpp"

#include <fmt/core.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>

namespace uffd::bench {

other_load::other_load() : begin_(now()) {}

other_load::times other_load::now() {
  timespec own{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
  times result;
  result.own = static_cast<double>(own.tv_sec) + static_cast<double>(own.tv_nsec) / 1e9;

  // man 5 proc: user nice system idle iowait irq softirq steal, in ticks.
  std::ifstream file("/proc/stat");
  std::string name;
  std::array<double, 8> ticks{};
  file >> name;
  for (double& each : ticks) file >> each;
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  for (double& each : ticks) each /= ticks_per_second;
  result.busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
  result.stolen = ticks[7];
  result.total = result.busy + result.stolen + ticks[3] + ticks[4];
  return result;
}

std::string other_load::in_words() const {
  const times end = now();
  const double total = std::max(end.total - begin_.total, 1e-9);
  const double others = std::max((end.busy - begin_.busy) - (end.own - begin_.own), 0.0);
  return fmt::format("other processes {:.0f} %, stolen by the hypervisor {:.0f} %",
                     others / total * 100, (end.stolen - begin_.stolen) / total * 100);
}

}  // namespace uffd::bench
