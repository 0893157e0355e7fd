// SPDX-License-Identifier: MIT
// Candidates measured in turns, so that a noisy machine is noisy for all of them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/samples.hpp"

namespace uffd::bench {

// One run of a candidate.
struct measurement {
  double p50 = 0;  // nanoseconds, as all latencies
  double p90 = 0;
  double p99 = 0;
  double maximum = 0;
  double faults_per_second = 0;
  double cpu_per_fault = 0;  // nanoseconds of CPU time of the whole process
};

struct candidate {
  std::string name;
  std::function<measurement()> run;
  std::vector<measurement> results;  // one for each turn
};

// Runs each candidate once in each of `turns` turns, which are shuffled: no two candidates are
// always neighbours, so a machine that drifts widens all ratios alike. The order is the same in
// every run. `progress` is called after each measurement.
void interleave(std::vector<candidate>& candidates, unsigned turns,
                const std::function<void()>& progress);

// Of all turns.
spread results_of(const candidate& of, double measurement::*value);
// Of the ratios within each turn.
spread ratios(const candidate& over, const candidate& under, double measurement::*value);

}  // namespace uffd::bench
