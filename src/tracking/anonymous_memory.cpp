// SPDX-License-Identifier: MIT
#include "tracking/anonymous_memory.hpp"

#include <cerrno>

#include "tracking/mapped_areas.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {

bool is_anonymous(page_range memory) {
  bool is_some = false;
  bool has_file = false;
  for (const auto& area : mapped_areas(memory))
    (area.is_shared || area.has_inode ? has_file : is_some) = true;
  if (is_some && has_file)
    throw_errno(EINVAL, "write_tracker::track " + to_string(memory) +
                            ": anonymous memory and other memory must be tracked apart");
  return is_some;
}

}  // namespace uffd::detail
