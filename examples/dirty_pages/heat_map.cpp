// SPDX-License-Identifier: MIT
#include "heat_map.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

namespace dirty_pages {

void heat_map::add(std::string name, const std::vector<bool>& written) {
  row added{std::move(name), {}};
  for (std::size_t column = 0; column < columns_; ++column) {
    const auto begin =
        written.begin() + static_cast<std::ptrdiff_t>(column * written.size() / columns_);
    const auto end =
        written.begin() + static_cast<std::ptrdiff_t>((column + 1) * written.size() / columns_);
    const auto count = static_cast<double>(std::count(begin, end, true));
    added.shares.push_back(begin == end ? 0 : count / static_cast<double>(end - begin));
  }
  rows_.push_back(std::move(added));
}

std::string heat_map::last_row() const {
  // What is written at all shows.
  constexpr std::string_view shades = " .:-=+*#%@";
  const auto& last = rows_.back();
  std::string text = fmt::format("{:>8} |", last.name);
  for (const double share : last.shares)
    text += shades.at(static_cast<std::size_t>(std::ceil(share * (shades.size() - 1))));
  return text + '|';
}

std::string heat_map::svg() const {
  constexpr int cell = 12;
  constexpr int margin = 80;
  std::string text = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" "
      "font-family=\"sans-serif\""
      " font-size=\"11\">\n",
      margin + static_cast<int>(columns_) * cell, static_cast<int>(rows_.size()) * cell);
  int top = 0;
  for (const auto& each : rows_) {
    text += fmt::format("<text x=\"4\" y=\"{}\">{}</text>\n", top + cell - 2, each.name);
    int left = margin;
    for (const double share : each.shares) {
      if (share > 0)
        text += fmt::format(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#b30000\""
            " fill-opacity=\"{:.2f}\"/>\n",
            left, top, cell, cell, 0.1 + 0.9 * share);
      left += cell;
    }
    top += cell;
  }
  return text + "</svg>\n";
}

}  // namespace dirty_pages
