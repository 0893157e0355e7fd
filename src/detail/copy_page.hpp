// SPDX-License-Identifier: MIT
// COPY for a fault, also where no huge page is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "stuck_pages.hpp"
#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

[[gnu::cold]] resolution copy_page_rest(const handle& on, page_range page, std::uintptr_t to,
                                        std::span<const std::byte> from, flags<fill_mode> mode,
                                        outcome first) noexcept;

// Notes that something was done for `page`, if `done` has it.
[[gnu::cold]] void note_progress(const handle& on, page_range page, page_range done) noexcept;

// As resolve::copy(), for a fault on `page`. ENOMEM where that is a huge page, the fault came back
// often, each COPY answered EEXIST, and nothing says that the page is there: the kernel answers so
// where it has no huge page left. No call would tell that at once from a page which somebody else
// writes to the page cache.
inline resolution copy_page(const handle& on, page_range page, std::uintptr_t to,
                            std::span<const std::byte> from, flags<fill_mode> mode) noexcept {
  const outcome first = on.copy(to, from, mode);
  if (!first) [[unlikely]]
    return copy_page_rest(on, page, to, from, mode, first);
  if (pages_without_progress.are_any()) [[unlikely]]
    note_progress(on, page, {to, from.size()});
  return resolution::resolved();
}

}  // namespace uffd::detail
