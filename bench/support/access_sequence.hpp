// SPDX-License-Identifier: MIT
// Which pages are accessed, and how: the same for all candidates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace uffd::bench {

// Page numbers in the order of their access.
using page_sequence = std::vector<std::uint32_t>;

page_sequence all_in_order(std::size_t pages);
// Each at most once: `count` of them, all if there are fewer.
page_sequence distinct_at_random(std::size_t pages, std::size_t count, std::uint64_t seed);
page_sequence uniform(std::size_t pages, std::size_t count, std::uint64_t seed);
// The page of rank r is accessed in proportion to r^-exponent; ranks lie anywhere in the file.
page_sequence zipf(std::size_t pages, std::size_t count, double exponent, std::uint64_t seed);

}  // namespace uffd::bench
