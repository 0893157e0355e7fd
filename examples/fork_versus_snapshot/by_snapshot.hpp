// SPDX-License-Identifier: MIT
// A table saved by the library.
#pragma once

#include <filesystem>

#include "measurement.hpp"
#include "support/pair_table.hpp"

namespace fork_versus_snapshot {

struct two_snapshots {
  measurement first;
  measurement second;
};

// Takes the first snapshot of a table of its own, and one of what changed after `share` of its
// pages, chosen at random, were written to; checks and removes the files. Throws
// std::runtime_error.
two_snapshots save_by_snapshot(const std::filesystem::path& folder,
                               const examples::pair_table_shape& shape, bool huge_pages,
                               double share);

}  // namespace fork_versus_snapshot
