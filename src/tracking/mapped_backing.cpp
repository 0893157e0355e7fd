// SPDX-License-Identifier: MIT
#include "tracking/mapped_backing.hpp"

#include <cerrno>
#include <optional>
#include <string>

#include "tracking/mapped_areas.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {

backing mapped_backing(page_range range, std::size_t page) {
  std::optional<backing> found;
  auto position = range.begin();
  for (const auto& one : mapped_areas(range)) {
    if (one.range.begin() > position) break;
    if (!one.is_shared && !one.has_inode && page != uffd::page_size())
      throw_errno(EINVAL, "snapshotter " + to_string(range) + ": its pages have " +
                              std::to_string(uffd::page_size()) +
                              " bytes, transparent huge pages or not");
    backing kind = backing::anonymous;
    if (one.is_shared || page != uffd::page_size())
      kind = backing::page_cache;
    else if (one.has_inode)
      kind = backing::private_file;
    if (found && *found != kind)
      throw_errno(EINVAL, "snapshotter " + to_string(range) +
                              ": different kinds of memory; give each an area of its own");
    found = kind;
    position = one.range.end();
  }
  if (position < range.end() || !found)
    throw_errno(EINVAL, "snapshotter " + to_string(range) + ": nothing is mapped in a part of it");
  return *found;
}

}  // namespace uffd::detail
