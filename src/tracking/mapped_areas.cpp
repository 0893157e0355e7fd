// SPDX-License-Identifier: MIT
#include "tracking/mapped_areas.hpp"

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

mapped_area read_area(const std::string& line) {
  std::istringstream words(line);
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  char dash = 0;
  std::string rights;
  std::string offset;
  std::string device;
  std::uint64_t inode = 0;
  words >> std::hex >> begin >> dash >> end >> rights >> offset >> device >> std::dec >> inode;
  if (!words || rights.size() < 4) throw_errno(EIO, "/proc/self/maps: not understood: " + line);
  return {range_between(begin, end), rights[3] == 's', inode != 0};
}

}  // namespace

std::vector<mapped_area> mapped_areas(page_range memory) {
  std::ifstream maps("/proc/self/maps");
  if (!maps) throw_errno(errno, "/proc/self/maps");
  std::vector<mapped_area> areas;
  for (std::string line; std::getline(maps, line);) {
    const auto area = read_area(line);
    if (area.range.overlaps(memory)) areas.push_back(area);
  }
  return areas;
}

}  // namespace uffd::detail
