// SPDX-License-Identifier: MIT
#include "tracking/mapped_backing.hpp"

#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

struct mapped {
  page_range range;
  bool is_shared = false;
  bool is_file = false;
};

std::optional<mapped> parse(const std::string& line) {
  std::istringstream words(line);
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  char dash = 0;
  std::string rights;
  std::string offset;
  std::string device;
  std::uint64_t inode = 0;
  words >> std::hex >> begin >> dash >> end >> rights >> offset >> device >> std::dec >> inode;
  if (!words || rights.size() < 4) return std::nullopt;
  return mapped{range_between(begin, end), rights[3] == 's', inode != 0};
}

}  // namespace

backing mapped_backing(page_range range, std::size_t page) {
  std::ifstream maps("/proc/self/maps");
  std::optional<backing> found;
  auto position = range.begin();
  for (std::string line; position < range.end() && std::getline(maps, line);) {
    const auto one = parse(line);
    if (!one || one->range.end() <= position) continue;
    if (one->range.begin() > position) break;
    if (!one->is_shared && !one->is_file && page != uffd::page_size())
      throw_errno(EINVAL, "snapshotter " + to_string(range) + ": its pages have " +
                              std::to_string(uffd::page_size()) +
                              " bytes, transparent huge pages or not");
    backing kind = backing::anonymous;
    if (one->is_shared || page != uffd::page_size())
      kind = backing::page_cache;
    else if (one->is_file)
      kind = backing::private_file;
    if (found && *found != kind)
      throw_errno(EINVAL, "snapshotter " + to_string(range) +
                              ": different kinds of memory; give each an area of its own");
    found = kind;
    position = one->range.end();
  }
  if (position < range.end() || !found)
    throw_errno(EINVAL, "snapshotter " + to_string(range) + ": nothing is mapped in a part of it");
  return *found;
}

}  // namespace uffd::detail
