// SPDX-License-Identifier: MIT
// What a program does to its memory, one thing after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace dirty_pages {

struct phase {
  std::string name;
  std::function<void(std::span<std::uint64_t>)> run;
};

std::vector<phase> phases();

}  // namespace dirty_pages
