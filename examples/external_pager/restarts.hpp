// SPDX-License-Identifier: MIT
// A pager that is killed again and again.
#pragma once

#include <uffd/latency_histogram.hpp>

#include <string>

#include "reading.hpp"

namespace external_pager {

// Reads all of the memory, over and over, until so many pagers, each a process started here, were
// killed while they served it. Answers how long it took from each kill to the next page that could
// be read. Throws what goes wrong.
uffd::latency_histogram read_and_kill(memory_of_file& memory, const std::string& socket,
                                      const std::string& file, unsigned kills);

}  // namespace external_pager
