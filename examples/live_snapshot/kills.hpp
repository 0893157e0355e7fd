// SPDX-License-Identifier: MIT
// Processes that are killed while they take snapshots, and what they leave.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "support/pair_table.hpp"

namespace live_snapshot {

struct outcome {
  std::size_t complete = 0;
  std::size_t refused = 0;
};

// Starts this program again, kills it some time after its first snapshot, and answers the names of
// the files that it said were complete. Throws std::system_error, and std::runtime_error if it
// failed by itself, or came to no snapshot.
std::vector<std::string> kill_while_saving(const std::filesystem::path& folder,
                                           const std::string& arguments, unsigned seed);

// Checks the last file that was complete, and all that nobody said so of: those are refused, or
// complete too. Throws what is wrong.
outcome check_folder(const std::filesystem::path& folder, const std::vector<std::string>& complete,
                     const examples::pair_table_shape& shape, bool lazily);

}  // namespace live_snapshot
