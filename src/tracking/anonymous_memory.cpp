// SPDX-License-Identifier: MIT
#include "tracking/anonymous_memory.hpp"

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

// A line of the file: where it is mapped, and which file.
struct mapped_area {
  page_range range;
  std::uint64_t inode = 0;
};

mapped_area read_area(const std::string& line) {
  std::istringstream words(line);
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  char dash = 0;
  std::string rights;
  std::string offset;
  std::string device;
  mapped_area area;
  words >> std::hex >> begin >> dash >> end >> rights >> offset >> device >> std::dec >> area.inode;
  if (!words) throw_errno(EIO, "write_tracker: /proc/self/maps says " + line);
  area.range = range_between(begin, end);
  return area;
}

}  // namespace

bool is_anonymous(page_range memory) {
  std::ifstream maps("/proc/self/maps");
  if (!maps) throw_errno(errno, "write_tracker: /proc/self/maps");
  bool is_some = false;
  bool has_file = false;
  for (std::string line; std::getline(maps, line);) {
    const auto area = read_area(line);
    if (!area.range.overlaps(memory)) continue;
    (area.inode == 0 ? is_some : has_file) = true;
  }
  if (is_some && has_file)
    throw_errno(EINVAL, "write_tracker::track " + to_string(memory) +
                            ": anonymous memory and other memory must be tracked apart");
  return is_some;
}

}  // namespace uffd::detail
