// SPDX-License-Identifier: MIT
// Measurements beside each other.
#pragma once

#include <string>
#include <vector>

#include "measurement.hpp"

namespace fork_versus_snapshot {

struct row {
  std::string name;
  measurement values;
};

// For a terminal.
std::string table_of(const std::vector<row>& rows);
// A group of bars for each metric, each group to a scale of its own.
std::string svg_of(const std::vector<row>& rows);

}  // namespace fork_versus_snapshot
