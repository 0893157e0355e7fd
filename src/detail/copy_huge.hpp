// SPDX-License-Identifier: MIT
// COPY for faults on huge pages, of which there may be none left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

// As resolve::copy(), for a fault on `page`. ENOMEM where the fault came back often, each COPY
// answered EEXIST, and nothing says that the page is there: the kernel answers so where it has no
// huge page left. No call would tell that from a page which somebody else writes to the page cache.
resolution copy_huge(const handle& on, page_range page, std::uintptr_t to,
                     std::span<const std::byte> from, flags<fill_mode> mode) noexcept;

}  // namespace uffd::detail
