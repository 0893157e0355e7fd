// SPDX-License-Identifier: MIT
// A row for each phase, a column for each part of the memory: how much of it was written.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dirty_pages {

class heat_map {
 public:
  explicit heat_map(std::size_t columns) : columns_(columns) {}

  // `written` has an entry for each page.
  void add(std::string name, const std::vector<bool>& written);

  // The last row, for a terminal.
  std::string last_row() const;
  std::string svg() const;

 private:
  struct row {
    std::string name;
    std::vector<double> shares;  // 0 to 1
  };

  std::size_t columns_;
  std::vector<row> rows_;
};

}  // namespace dirty_pages
