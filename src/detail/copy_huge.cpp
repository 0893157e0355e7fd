// SPDX-License-Identifier: MIT
#include "copy_huge.hpp"

#include <cerrno>
#include <system_error>

#include "stuck_pages.hpp"

namespace uffd::detail {

resolution copy_huge(const handle& on, page_range page, std::uintptr_t to,
                     std::span<const std::byte> from, flags<fill_mode> mode) noexcept {
  const outcome first = on.copy(to, from, mode);
  if (first) {
    pages_without_progress.changed(&on, page.begin());
    return resolution::resolved();
  }
  const auto answer = copy_rest(on, to, from, mode, page.size(), first);
  const bool is_for_page = page_range(to, from.size()).contains(page);
  if (first.number != EEXIST || !answer.is_resolved() || !is_for_page) return answer;
  if (!pages_without_progress.unchanged(&on, page.begin())) return answer;
  const auto state = state_of_page(on, page.begin());
  if (state && state->present) return answer;
  return std::errc::not_enough_memory;
}

}  // namespace uffd::detail
