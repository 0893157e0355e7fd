// SPDX-License-Identifier: MIT
#include "support/interleaved.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <random>

namespace uffd::bench {

void interleave(std::vector<candidate>& candidates, unsigned turns,
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

spread results_of(const candidate& of, double measurement::*value) {
  std::vector<double> values;
  for (const measurement& each : of.results) values.push_back(each.*value);
  return spread_of(std::move(values));
}

spread ratios(const candidate& over, const candidate& under, double measurement::*value) {
  std::vector<double> values;
  for (std::size_t i = 0; i < over.results.size(); ++i)
    values.push_back(over.results[i].*value / under.results[i].*value);
  return spread_of(std::move(values));
}

}  // namespace uffd::bench
