// SPDX-License-Identifier: MIT
#include "support/interleaved.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace uffd::bench {

void interleave(std::vector<candidate>& candidates, unsigned turns,
                const std::function<void()>& progress) {
  std::vector<std::size_t> order(candidates.size());
  for (unsigned turn = 0; turn < turns; ++turn) {
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto shift = static_cast<std::ptrdiff_t>(turn / 2 % order.size());
    std::rotate(order.begin(), order.begin() + shift, order.end());
    if (turn % 2 != 0) std::reverse(order.begin(), order.end());
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
