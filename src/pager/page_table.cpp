// SPDX-License-Identifier: MIT
#include "pager/page_table.hpp"

namespace uffd::detail {

// Whoever loses the race for an entry leaves its block to the next: nobody waits, for it may be the
// interrupted one that is waited for. A block says whose it is before anybody can use it: who goes
// through all of them misses none.
page_table::block* page_table::make(std::size_t number,
                                    std::atomic<std::uint32_t>& entry) noexcept {
  auto taken = unused_.exchange(0, std::memory_order_acq_rel);
  if (taken == 0) taken = made_.fetch_add(1, std::memory_order_acq_rel) + 1;
  if (taken > block_memory_.size() / sizeof(block)) {
    made_.fetch_sub(1, std::memory_order_acq_rel);
    return nullptr;
  }
  auto& made = nth(taken - 1);
  made.number_.store(static_cast<std::uint32_t>(number + 1), std::memory_order_release);
  std::uint32_t expected = 0;
  if (entry.compare_exchange_strong(expected, taken, std::memory_order_acq_rel)) return &made;
  made.number_.store(0, std::memory_order_release);
  unused_.store(taken, std::memory_order_release);
  return &nth(expected - 1);
}

}  // namespace uffd::detail
