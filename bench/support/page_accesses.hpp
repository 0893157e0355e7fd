// SPDX-License-Identifier: MIT
// Threads that access a paged file, take the times, and note what they saw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/access_sequence.hpp"
#include "support/paged_file.hpp"
#include "support/samples.hpp"

namespace uffd::bench {

// What is done to each page: it is seen whether it is the right one.
struct access_kind {
  bool reads_all = false;    // all its words, else one
  bool writes_half = false;  // every second access increments the page's counter
};

struct access_result {
  std::vector<nanoseconds> latencies;  // of each access
  nanoseconds begin = 0;               // of the first one, by CLOCK_MONOTONIC
  nanoseconds end = 0;                 // of the last one
  std::uint64_t words = 0;             // the sum of the words read by access_kind::reads_all
  std::uint64_t wrong = 0;             // pages that are not what they should be
  std::uint64_t writes = 0;
};

// By so many threads, each of which takes its part of the sequence. A paged file without a base()
// may be accessed by one thread only.
access_result access_pages(paged_file& file, const page_sequence& pages, access_kind kind,
                           unsigned threads);

}  // namespace uffd::bench
