// SPDX-License-Identifier: MIT
// A table from a file.
#pragma once

#include <filesystem>

#include "support/pair_table.hpp"

namespace live_snapshot {

// Loads a snapshot with what it is based on, all at once or page by page through a pager, and
// throws std::runtime_error with its path where it is not a table of one moment; std::system_error
// where it can't be loaded.
void check_file(const std::filesystem::path& path, const examples::pair_table_shape& shape,
                bool lazily);

}  // namespace live_snapshot
