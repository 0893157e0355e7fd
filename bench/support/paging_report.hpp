// SPDX-License-Identifier: MIT
// Markdown tables and CSV of workloads over pagers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "support/interleaved.hpp"
#include "support/paging_run.hpp"

namespace uffd::bench {

using paging_candidate = basic_candidate<paging_measurement>;

// A workload, who did it, and whom the others are compared with.
struct paging_comparison {
  paging_workload work;
  std::string baseline;
  std::vector<paging_candidate> candidates;
};

// Null where `name` was left out.
const paging_candidate* find(const paging_comparison& in, std::string_view name);

void print_table(const paging_comparison& measured);
// One line for each run. Throws std::system_error if it can't be written.
void write_csv(const std::string& path, const std::vector<paging_comparison>& all);

}  // namespace uffd::bench
