// SPDX-License-Identifier: MIT
#include "support/samples.hpp"

#include <algorithm>
#include <cmath>

namespace uffd::bench {

samples::samples(std::vector<nanoseconds> values) : values_(std::move(values)) {
  std::sort(values_.begin(), values_.end());
}

nanoseconds samples::percentile(double fraction) const noexcept {
  const auto rank = static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(size())));
  return values_[std::clamp<std::size_t>(rank, 1, size()) - 1];
}

std::vector<std::pair<double, nanoseconds>> samples::distribution() const {
  std::vector<std::pair<double, nanoseconds>> points;
  const auto add = [&](double fraction) { points.emplace_back(fraction, percentile(fraction)); };
  for (int percent = 0; percent < 99; ++percent) add(percent / 100.0);
  for (int thousandth = 990; thousandth < 1000; ++thousandth) add(thousandth / 1000.0);
  add(0.9995);
  add(1.0);
  return points;
}

spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double fraction) {
    const double position = fraction * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return std::lerp(values[below], values[above], position - static_cast<double>(below));
  };
  return {at(0.5), at(0.25), at(0.75), values.front(), values.back()};
}

}  // namespace uffd::bench
