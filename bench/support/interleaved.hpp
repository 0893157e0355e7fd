// SPDX-License-Identifier: MIT
// Candidates measured in turns, so that a noisy machine is noisy for all of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <utility>
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

template <class Measurement>
struct basic_candidate {
  std::string name;
  std::function<Measurement()> run;
  std::vector<Measurement> results;  // one for each turn
};
using candidate = basic_candidate<measurement>;

// Runs each candidate once in each of `turns` turns, which are shuffled: no two candidates are
// always neighbours, so a machine that drifts widens all ratios alike. The order is the same in
// every run. `progress` is called after each measurement.
template <class Measurement>
void interleave(std::vector<basic_candidate<Measurement>>& candidates, unsigned turns,
                const std::function<void()>& progress) {
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random;  // of the same seed in every run
  for (unsigned turn = 0; turn < turns; ++turn) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) {
      candidates[i].results.push_back(candidates[i].run());
      progress();
    }
  }
}

// Of all turns.
template <class Measurement>
spread results_of(const basic_candidate<Measurement>& of, double Measurement::*value) {
  std::vector<double> values;
  for (const Measurement& each : of.results) values.push_back(each.*value);
  return spread_of(std::move(values));
}

// Of the ratios within each turn.
template <class Measurement>
spread ratios(const basic_candidate<Measurement>& over, const basic_candidate<Measurement>& under,
              double Measurement::*value) {
  std::vector<double> values;
  for (std::size_t i = 0; i < over.results.size(); ++i)
    values.push_back(over.results[i].*value / under.results[i].*value);
  return spread_of(std::move(values));
}

}  // namespace uffd::bench
