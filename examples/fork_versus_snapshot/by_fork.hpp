// SPDX-License-Identifier: MIT
// A table saved by a forked child.
#pragma once

#include <filesystem>

#include "measurement.hpp"
#include "support/pair_table.hpp"

namespace fork_versus_snapshot {

// Saves a table of its own to a file in the folder, and checks and removes that. The extra memory
// is that of the child: its page tables, and what the parent wrote to and so is there twice. Throws
// std::runtime_error.
measurement save_by_fork(const std::filesystem::path& folder,
                         const examples::pair_table_shape& shape, bool huge_pages);

}  // namespace fork_versus_snapshot
