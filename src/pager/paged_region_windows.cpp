// SPDX-License-Identifier: MIT
// Whole windows of a mapping: read into spare memory, moved to their place, and moved away from it
// again, so that the next one takes their pages.
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "detail/monotonic.hpp"
#include "pager/evictor.hpp"
#include "pager/paged_region.hpp"
#include "pager/spare_windows.hpp"
#include "uffd/pager/memory_budget.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {
namespace {

constexpr int most_ahead = 4;                   // windows, in one callback
constexpr std::size_t least_budget_ahead = 64;  // windows: or it would be gone before it is wanted

}  // namespace

std::size_t paged_region::window_pages() const noexcept {
  return around_.spare->window_bytes() / page_size_;
}

bool paged_region::has_windows_of(std::size_t bytes) const noexcept {
  return moves() && around_.spare->window_bytes() == bytes;
}

// Takes the pages of a window that leaves; a huge page as long as there is room for one, which will
// be taken over so in turn. What was not loaded is still claimed, and does not count.
paged_region::window_load paged_region::load_window(page_run claimed, std::size_t wanted) noexcept {
  auto& budget = *around_.budget;
  const auto size = claimed.count * page_size_;
  spare_windows::loan spare;
  if (budget.room() > size) {
    // What is never taken over is copied to small pages faster than a huge one is cleared.
    if (budget.limit() != memory_budget::unlimited) spare = around_.spare->borrow_huge();
    if (!spare || !budget.reserve(size)) return window_load::impossible;
  } else {
    spare = around_.spare->borrow_target();
    if (!spare || !budget.take_window(spare.memory(), *around_.on)) return window_load::impossible;
  }
  const auto read = read_window(claimed, wanted, spare.memory());
  if (read != window_load::done) return read;
  if (!move_in(claimed, spare.memory())) {
    budget.release(size);
    return window_load::impossible;
  }
  become(claimed, paging_state::clean, wanted);
  overdue_.forget(wanted);
  count(counts_.pages_loaded, claimed.count);
  static_cast<void>(around_.on->wake(range_of(claimed)));
  return window_load::done;
}

paged_region::window_load paged_region::read_window(page_run claimed, std::size_t wanted,
                                                    page_range to) noexcept {
  const auto offset = claimed.first * page_size_;
  const std::span<std::byte> all(reinterpret_cast<std::byte*>(to.begin()), to.size());
  const auto there =
      static_cast<std::size_t>(std::min<std::uint64_t>(all.size(), this->size() - offset));
  count(counts_.source_reads);
  const auto load = loads_.begin({claimed, wanted}, monotonic_nanoseconds());
  const auto answer = source_.read(offset, all.first(there));
  if (!loads_under_way::end(load)) return window_load::given_up;
  if (answer.error) {
    around_.budget->release(to.size());
    return window_load::unreadable;
  }
  std::memset(all.data() + there, 0, all.size() - there);
  return window_load::done;
}

// There is no way to move pages in protected: who writes to memory that he may not write to is seen
// an instant later.
bool paged_region::move_in(page_run claimed, page_range from) noexcept {
  const auto to = range_of(claimed);
  auto moved = resolve::move(*around_.on, to.begin(), from, move_mode::dont_wake, page_size_);
  while (moved.kind() == resolution::state::retry)
    moved = resolve::move(*around_.on, to.begin(), from, move_mode::dont_wake, page_size_);
  if (!moved.is_resolved()) {
    moves_.store(false, std::memory_order_relaxed);
    // A part that has arrived is not protected.
    ::madvise(reinterpret_cast<void*>(to.begin()), to.size(), MADV_DONTNEED);
    return false;
  }
  while (around_.on->write_protect(to).error() == condition::retry) {
  }
  return true;
}

// All of it or nothing: what was brought as one huge page would not give its memory back in parts.
bool paged_region::is_whole(table_block& block, std::size_t index) const noexcept {
  const auto end = index + window_pages();
  for (; index < end; ++index)
    if (const auto seen = block[index].load();
        seen.state() != paging_state::clean || seen.is_pinned())
      return false;
  return true;
}

// As warm as its coldest page.
bool paged_region::claim_window(table_block& block, std::size_t index) noexcept {
  const auto end = index + window_pages();
  auto coldest = block[index].load();
  for (auto i = index; i < end; ++i)
    if (const auto seen = block[i].load(); seen.heat() < coldest.heat()) coldest = seen;
  const auto heat = coldest.heat();
  if (!hand_.takes(coldest, window_pages())) {
    if (coldest.heat() < heat)
      for (auto i = index; i < end; ++i)
        block[i].update([](page_word seen) { return seen.with_heat(seen.heat() - 1); });
    return false;
  }
  for (auto i = index; i < end; ++i) {
    auto seen = block[i].load();
    while (seen.state() == paging_state::clean && !seen.is_pinned())
      if (block[i].change(seen, seen.with(paging_state::leaving))) break;
    if (seen.state() == paging_state::clean && !seen.is_pinned()) continue;
    set({block.first_page() + index, i - index}, paging_state::leaving, paging_state::clean);
    return false;
  }
  return true;
}

bool paged_region::sweep_windows(page_run& found, std::size_t& looks) noexcept {
  constexpr auto per_block = page_table::pages_per_block;
  const auto window = window_pages();
  const auto end = table_.blocks() * per_block;
  while (looks != 0) {
    // Where it stopped in the middle of a window the rest of that is passed over.
    hand_.move_to((hand_.at() + window - 1) / window * window);
    if (hand_.at() >= end) break;
    const auto index = hand_.at() % per_block;
    auto& block = table_.nth(hand_.at() / per_block);
    if (!block.is_known() || block.resident().load(std::memory_order_relaxed) < window) {
      hand_.move_to(hand_.at() - index + per_block);
      --looks;
      continue;
    }
    hand_.move_to(hand_.at() + window);
    looks -= std::min(looks, window);
    if (is_whole(block, index) && claim_window(block, index)) {
      found = {block.first_page() + index, window};
      return true;
    }
  }
  if (looks == 0) return true;
  hand_.begin_turn();
  return false;
}

bool paged_region::move_away(page_run claimed, page_range to, const handle& by) noexcept {
  const auto from = range_of(claimed);
  outcome moved;
  do moved = by.move(to.begin(), from, move_mode::dont_wake);
  while (moved.bytes == 0 && moved.error() == condition::retry);
  if (!moved) {
    // Pinned by the kernel, perhaps. A part that has moved away is not here any more.
    const bool is_gone = moved.bytes != 0 && ::madvise(reinterpret_cast<void*>(from.begin()),
                                                       from.size(), MADV_DONTNEED) == 0;
    has_dropped(claimed, is_gone);
    return false;
  }
  // The same of what has become empty here.
  ::madvise(reinterpret_cast<void*>(from.begin()), from.size(), MADV_DONTNEED);
  for_each(claimed, [](table_block& block, std::size_t page, std::size_t end) {
    block.resident().fetch_sub(static_cast<std::uint32_t>(end - page), std::memory_order_relaxed);
  });
  count(counts_.pages_evicted, claimed.count);
  set(claimed, paging_state::leaving, paging_state::absent);
  return true;
}

// Another thread waits for something.
bool paged_region::is_waited_for(const handle& on) noexcept {
  pollfd messages{on.fd(), POLLIN, 0};
  return ::poll(&messages, 1, 0) != 0;
}

bool paged_region::may_go_ahead() const noexcept {
  const auto least = least_budget_ahead * readahead_.most() * page_size_;
  return around_.threads != 0 && around_.budget->limit() >= least;
}

// Who reads in order finds what follows, while the thread that served him goes on; one thread of
// them all is left to serve what others wait for.
void paged_region::load_ahead(fault& raised) noexcept {
  // Of a handler that isn't the pager's own the buffers may be smaller.
  if (!may_go_ahead() || raised.buffer(buffer_size()).size() < buffer_size()) return;
  // What serves another process's view has threads of its own, which nobody counts.
  const bool is_last =
      ahead_.fetch_add(1, std::memory_order_relaxed) + 1 >= around_.threads || is_shared();
  for (int windows = 0; windows < most_ahead; ++windows) {
    if (is_last && is_waited_for(raised.on())) break;
    const auto window = recorder_.window_ahead(readahead_);
    if (window.count == 0) break;
    auto* const block = table_.at(window.first);
    if (block == nullptr || !(*block)[window.first % page_table::pages_per_block].change(
                                paging_state::absent, paging_state::loading))
      continue;
    const auto claimed = claim(window, window.first);
    if (load_here(claimed, raised.buffer(claimed.count * page_size_), false).error) break;
  }
  ahead_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace uffd::detail
