// SPDX-License-Identifier: MIT
// Markdown tables and CSV of candidates measured in turns.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "support/interleaved.hpp"

namespace uffd::bench {

// Candidates under the same conditions; the first is what the others are compared with, the second
// the same again.
struct scenario {
  std::string name;
  std::string title;
  std::vector<candidate> candidates;
};

// A number that the project asks for, beside what was measured.
struct threshold {
  std::string what;
  spread measured;
  spread noise;  // the same ratio of the baseline to itself
  double limit = 0;
  bool is_upper_limit = true;
};

void print_table(const scenario& measured);
void print_thresholds(const std::vector<threshold>& all);
// One line for each run. Throws std::system_error if it can't be written.
void write_csv(const std::string& path, const std::vector<scenario>& all);

}  // namespace uffd::bench
