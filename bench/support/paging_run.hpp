// SPDX-License-Identifier: MIT
// One run of a workload over one candidate.
#pragma once

#include <cstddef>
#include <string>

#include "support/access_sequence.hpp"
#include "support/numbered_file.hpp"
#include "support/paged_file.hpp"

namespace uffd::bench {

struct paging_workload {
  std::string name;
  std::string title;
  std::size_t file_bytes = 0;
  paging_plan plan;
  unsigned threads = 1;  // each takes its part of the accesses
  page_sequence fill;    // accessed by one thread before the time is taken
  page_sequence accesses;
  bool reads_all = false;    // all words of each page, else one
  bool writes_half = false;  // every second access increments the page's counter
  bool fill_writes = false;  // so does every second one of the fill
};

// One run. As far as nothing else is said, of the accesses without the fill.
struct paging_measurement {
  double accesses_per_second = 0;
  double p50 = 0;  // nanoseconds, of as many of the slowest accesses as there were faults
  double p99 = 0;
  double faults = 0;
  double source_reads = 0;
  double source_writes = 0;
  double cpu_per_access = 0;  // nanoseconds of the whole process, user and system
  double resident = 0;        // bytes, the most that was seen, with the fill
  double end = 0;             // nanoseconds: written back, on disk, unmapped
};

// What is watched: looking at the resident bytes takes the kernel's locks, so that times mean
// nothing then.
enum class watching { times, resident_bytes };

// Throws std::runtime_error if any byte was wrong, in memory or in the file afterwards.
paging_measurement run_workload(const paging_workload& work, const numbered_file& file,
                                const paged_file_maker& make, watching what);

}  // namespace uffd::bench
