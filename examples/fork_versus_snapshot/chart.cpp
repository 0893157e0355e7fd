// SPDX-License-Identifier: MIT
#include "chart.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace fork_versus_snapshot {
namespace {

constexpr int bar = 16;
constexpr int label = 250;
constexpr int longest_bar = 400;
constexpr std::array colours{"#b30000", "#2b6cb0", "#2f855a"};

std::string svg_bar(int top, double share, const char* colour, const std::string& name,
                    const std::string& value) {
  const int width = static_cast<int>(share * longest_bar);
  return fmt::format(
      "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n"
      "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n"
      "<text x=\"{}\" y=\"{}\">{}</text>\n",
      label - 6, top + bar - 4, name, label, top, width, bar - 2, colour, label + width + 6,
      top + bar - 4, value);
}

}  // namespace

std::string table_of(const std::vector<row>& rows) {
  auto text = fmt::format("{:24}", "");
  for (const auto& each : metrics()) text += fmt::format("{:>15}", each.name);
  for (const auto& one : rows) {
    text += fmt::format("\n{:24}", one.name);
    for (const auto& each : metrics())
      text += fmt::format("{:>15}", each.text(one.values.*each.value));
  }
  return text + '\n';
}

std::string svg_of(const std::vector<row>& rows) {
  const int group = bar * (static_cast<int>(rows.size()) + 2);
  std::string text = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" "
      "font-family=\"sans-serif\" font-size=\"11\">\n",
      label + longest_bar + 100, group * static_cast<int>(metrics().size()));
  int top = 0;
  for (const auto& each : metrics()) {
    text += fmt::format("<text x=\"4\" y=\"{}\" font-weight=\"bold\">{}</text>\n", top + bar - 4,
                        each.name);
    double most = 0;
    for (const auto& one : rows) most = std::max(most, one.values.*each.value);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double value = rows[i].values.*each.value;
      text += svg_bar(top + bar * (static_cast<int>(i) + 1), most > 0 ? value / most : 0,
                      colours.at(i % colours.size()), rows[i].name, each.text(value));
    }
    top += group;
  }
  return text + "</svg>\n";
}

}  // namespace fork_versus_snapshot
