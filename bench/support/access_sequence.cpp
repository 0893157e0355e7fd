// SPDX-License-Identifier: MIT
#include "support/access_sequence.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace uffd::bench {

page_sequence all_in_order(std::size_t pages) {
  page_sequence result(pages);
  std::iota(result.begin(), result.end(), std::uint32_t{0});
  return result;
}

page_sequence distinct_at_random(std::size_t pages, std::size_t count, std::uint64_t seed) {
  page_sequence result = all_in_order(pages);
  std::mt19937_64 random(seed);
  std::shuffle(result.begin(), result.end(), random);
  result.resize(std::min(count, pages));
  return result;
}

page_sequence uniform(std::size_t pages, std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<std::uint32_t> page(0, static_cast<std::uint32_t>(pages - 1));
  page_sequence result(count);
  for (auto& each : result) each = page(random);
  return result;
}

page_sequence zipf(std::size_t pages, std::size_t count, double exponent, std::uint64_t seed) {
  std::vector<double> up_to(pages);  // the weight of a rank and all before it
  double sum = 0;
  for (std::size_t rank = 0; rank < pages; ++rank)
    up_to[rank] = sum += std::pow(static_cast<double>(rank + 1), -exponent);
  const page_sequence place = distinct_at_random(pages, pages, seed);
  std::mt19937_64 random(seed + 1);
  std::uniform_real_distribution<double> weight(0, sum);
  page_sequence result(count);
  for (auto& each : result) {
    const auto rank = std::upper_bound(up_to.begin(), up_to.end() - 1, weight(random));
    each = place[static_cast<std::size_t>(rank - up_to.begin())];
  }
  return result;
}

}  // namespace uffd::bench
