// SPDX-License-Identifier: MIT
// The memory that a mapping's pages are kept in.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pager/spare_windows.hpp"
#include "uffd/flags.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"
#include "uffd/pager/map_options.hpp"

namespace uffd::detail {

// Bytes in one of its pages. Throws std::system_error: ENOTSUP where this kernel has no huge pages.
std::size_t page_size_of(const map_options& options);

// Throws std::system_error where the options contradict each other, need a feature that isn't among
// those, or larger pages.
void check_backing(const map_options& options, flags<feature> has, std::size_t largest_page);

// Empty, for `bytes` bytes; pages_in() says where in it. With windows that are moved to it, if any.
// Throws std::system_error.
mapping make_backing(std::uint64_t bytes, const map_options& options, const spare_windows* spare);
page_range pages_in(const mapping& memory, std::uint64_t bytes, const spare_windows* spare);

}  // namespace uffd::detail
