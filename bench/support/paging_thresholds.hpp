// SPDX-License-Identifier: MIT
// What the project asks of its pager, beside what was measured.
#pragma once

#include <vector>

#include "support/overhead_report.hpp"
#include "support/paging_report.hpp"

namespace uffd::bench {

// Of the candidates that were not left out.
std::vector<threshold> thresholds(const paging_comparison& measured);

// The kernel's mapping: a bound, not asked for.
void print_bounds(const std::vector<paging_comparison>& all);

}  // namespace uffd::bench
