// SPDX-License-Identifier: MIT
// What is mapped in a range, as /proc/self/maps has it.
#pragma once

#include <cstddef>

#include "tracking/snapshot_memory.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {

// Throws std::system_error: EINVAL where nothing is mapped, or different kinds of memory are.
backing mapped_backing(page_range range, std::size_t page);

}  // namespace uffd::detail
