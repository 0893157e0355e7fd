// SPDX-License-Identifier: MIT
// What snapshots of a mapping ask of it.
#include "detail/grace_period.hpp"
#include "pager/paged_region.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

// What was swapped out may look lost to whoever finds it missing, and be loaded then: it is there
// all the while. What is there otherwise is loaded soon.
bool paged_region::is_written(std::size_t page) noexcept {
  auto* const block = table_.find(page);
  if (block == nullptr) return false;
  for (auto& at = (*block)[page % page_table::pages_per_block];; pause_shortly()) {
    const auto state = at.load().state();
    if (state == paging_state::loading) {
      const auto there = state_of_page(*around_.on, range_of({page, 1}).begin());
      if (there && !there->present && !there->swapped) return false;
    } else if (state != paging_state::opening) {
      return state == paging_state::dirty;
    }
  }
}

bool paged_region::may_be_unprotected(std::size_t page) noexcept {
  auto* const block = table_.find(page);
  if (block == nullptr) return false;
  const auto state = (*block)[page % page_table::pages_per_block].load().state();
  return state == paging_state::dirty || state == paging_state::opening ||
         state == paging_state::loading;
}

std::error_code paged_region::read_source(std::size_t first, std::size_t count,
                                          std::span<std::byte> buffer,
                                          std::span<const std::byte>& bytes) noexcept {
  return read({first, count}, buffer, bytes);
}

bool paged_region::may_pass(std::error_code error, std::chrono::nanoseconds since) const noexcept {
  return is_transient(error) && since < deadline_;
}

}  // namespace uffd::detail
