// SPDX-License-Identifier: MIT
#include "copy_page.hpp"

#include <cerrno>
#include <system_error>

namespace uffd::detail {

void note_progress(const handle& on, page_range page, page_range done) noexcept {
  if (done.contains(page)) pages_without_progress.changed(&on, page.begin());
}

resolution copy_page_rest(const handle& on, page_range page, std::uintptr_t to,
                          std::span<const std::byte> from, flags<fill_mode> mode,
                          outcome first) noexcept {
  const page_range all(to, from.size());
  bool was_there = false;
  const auto answer = resolve_rest(
      on, all, page.size(), first,
      [&](page_range rest) {
        return on.copy(rest.begin(), from.subspan(rest.begin() - to, rest.size()), mode);
      },
      [&](page_range occupied) {
        was_there = was_there || occupied == page;
        return EEXIST;
      });
  if (page.size() == page_size() || !answer.is_resolved()) return answer;
  if (!was_there) {
    note_progress(on, page, all);
    return answer;
  }
  if (!pages_without_progress.unchanged(&on, page.begin())) return answer;
  const auto state = state_of_page(on, page.begin());
  if (state && state->present) return answer;
  return std::errc::not_enough_memory;
}

}  // namespace uffd::detail
