// SPDX-License-Identifier: MIT
// Exact percentiles, from all values kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace uffd::bench {

using nanoseconds = std::int64_t;

// What was measured, in ascending order. Not empty.
class samples {
 public:
  explicit samples(std::vector<nanoseconds> values);

  std::size_t size() const noexcept { return values_.size(); }
  // The smallest value that `fraction` (0 to 1) of all don't exceed.
  nanoseconds percentile(double fraction) const noexcept;
  nanoseconds maximum() const noexcept { return values_.back(); }

  // Points (fraction, value) of the cumulative distribution, closer together in the tail.
  std::vector<std::pair<double, nanoseconds>> distribution() const;

 private:
  std::vector<nanoseconds> values_;
};

// Of a few results, perhaps of different runs: the middle, where half of them lie, and the
// extremes.
struct spread {
  double median = 0;
  double lower_quartile = 0;
  double upper_quartile = 0;
  double minimum = 0;
  double maximum = 0;
};
spread spread_of(std::vector<double> values);

}  // namespace uffd::bench
