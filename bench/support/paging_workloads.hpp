// SPDX-License-Identifier: MIT
// The workloads that pagers are compared by.
#pragma once

#include <cstddef>
#include <vector>

#include "support/paging_run.hpp"

namespace uffd::bench {

struct workload_sizes {
  std::size_t file = std::size_t{2} << 30;  // bytes
  std::size_t accesses = 200'000;           // of those at random; ten times as many of the skewed
  bool direct = false;                      // without the page cache
};

// W1, W1b, W2 (x2, x4: threads), W3, W4, W4b, W5.
std::vector<paging_workload> all_workloads(const workload_sizes& sizes);

}  // namespace uffd::bench
