// SPDX-License-Identifier: MIT
// What saving a table cost.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "support/table_writers.hpp"

namespace fork_versus_snapshot {

struct measurement {
  double pause = 0;   // ms that all writers were kept out
  double stall = 0;   // ms that one transfer took at most
  double extra = 0;   // bytes of memory
  double before = 0;  // transfers a second
  double during = 0;
  double total = 0;  // ms until the file was complete
};

struct metric {
  const char* name;
  double measurement::*value;
  std::string (*text)(double);
};
const std::array<metric, 6>& metrics();

// Of each value by itself.
measurement median_of(const std::vector<measurement>& all);

double milliseconds(std::chrono::nanoseconds time);

// What writers do from its begin on.
class stopwatch {
 public:
  explicit stopwatch(examples::table_writers& writers);

  // Sets what was measured until now.
  void read(measurement& to) const;
  // Transfers a second.
  double rate() const;

 private:
  std::chrono::steady_clock::time_point begin_;
  examples::table_writers& writers_;
  std::uint64_t transfers_;
};

// Transfers a second while nothing else goes on.
double usual_rate(examples::table_writers& writers);

}  // namespace fork_versus_snapshot
