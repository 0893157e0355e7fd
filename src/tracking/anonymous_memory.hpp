// SPDX-License-Identifier: MIT
// Tells anonymous memory from what has a file behind it, as shared memory and huge pages have too.
#pragma once

#include "uffd/page_range.hpp"

namespace uffd::detail {

// By /proc/self/maps. False where nothing is mapped. Throws std::system_error: EINVAL where a part
// of the range is of the one kind, and a part of the other.
bool is_anonymous(page_range memory);

}  // namespace uffd::detail
