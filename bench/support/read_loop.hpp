// SPDX-License-Identifier: MIT
// A file read into one buffer, again and again: no paging at all.
#pragma once

#include <memory>

#include "support/paged_file.hpp"

namespace uffd::bench {

// By 2 MiB. For workloads that read in order, in one thread.
std::unique_ptr<paged_file> read_into_buffer(const numbered_file& file, const paging_plan& plan);

}  // namespace uffd::bench
