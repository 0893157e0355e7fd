// SPDX-License-Identifier: MIT
#include "phases.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>

namespace dirty_pages {
namespace {

using words = std::span<std::uint64_t>;

void load(words all) {
  const auto first = all.first(all.size() / 2);
  std::iota(first.begin(), first.end(), 1);
}

void sort_a_quarter(words all) {
  const auto quarter = all.first(all.size() / 4);
  std::sort(quarter.begin(), quarter.end(), std::greater<>());
}

void update_at_random(words all) {
  // The same in every run: NOLINTNEXTLINE(cert-msc*)
  std::minstd_rand random;
  for (std::size_t i = 0; i < all.size() / 16384; ++i) ++all[random() % all.size()];
}

// Most of them fall on a few places.
void update_what_is_hot(words all) {
  // The same in every run: NOLINTNEXTLINE(cert-msc*)
  std::minstd_rand random;
  std::geometric_distribution<std::size_t> place(64.0 / static_cast<double>(all.size()));
  for (std::size_t i = 0; i < all.size() / 1024; ++i) ++all[place(random) % all.size()];
}

void only_read(words all) {
  if (std::accumulate(all.begin(), all.end(), std::uint64_t{0}) == 0)
    throw std::logic_error("nothing was loaded");
}

void append(words all) {
  const auto end = all.last(all.size() / 8);
  std::fill(end.begin(), end.end(), 8);
}

}  // namespace

std::vector<phase> phases() {
  return {{"load", load},
          {"sort", sort_a_quarter},
          {"update", update_at_random},
          {"hot", update_what_is_hot},
          {"read", only_read},
          {"append", append}};
}

}  // namespace dirty_pages
