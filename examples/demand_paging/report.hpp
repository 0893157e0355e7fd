// SPDX-License-Identifier: MIT
// What the example prints while it runs and when it is done.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>

#include "touching.hpp"

namespace demand_paging {

// Shows how many pages are done until its end; on a terminal only.
class progress {
 public:
  progress(const std::atomic<std::size_t>& done, std::size_t total);

 private:
  std::mutex lock_;
  std::condition_variable_any ended_;
  std::jthread thread_;
};

struct totals {
  std::size_t pages = 0;     // touched
  std::size_t of_pages = 0;  // in the file
  std::uint64_t faults = 0;
  std::uint64_t bytes = 0;  // read to serve them
};

void print_table(const totals& sum, const touch_result& touched);

}  // namespace demand_paging
