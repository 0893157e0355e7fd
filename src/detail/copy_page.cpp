// SPDX-License-Identifier: MIT
#include "copy_page.hpp"

#include <cerrno>
#include <system_error>

namespace uffd::detail {

resolution copy_page_rest(const handle& on, page_range page, std::uintptr_t to,
                          std::span<const std::byte> from, flags<fill_mode> mode,
                          outcome first) noexcept {
  const auto answer = copy_rest(on, to, from, mode, page.size(), first);
  const bool is_huge = page.size() != page_size();
  const bool is_for_page = page_range(to, from.size()).contains(page);
  if (!is_huge || !is_for_page || first.number != EEXIST || !answer.is_resolved()) return answer;
  if (!pages_without_progress.unchanged(&on, page.begin())) return answer;
  const auto state = state_of_page(on, page.begin());
  if (state && state->present) return answer;
  return std::errc::not_enough_memory;
}

}  // namespace uffd::detail
