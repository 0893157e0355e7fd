// SPDX-License-Identifier: MIT
// Faults of a mapping, and the state of its pages.
#include "pager/paged_region.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "pager/evictor.hpp"
#include "uffd/page_range.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {
namespace {

constexpr std::size_t most_bytes_at_once = std::size_t{2} << 20;
constexpr std::size_t first_window_bytes = std::size_t{64} << 10;
// See eviction_hand. A page that is dirty costs more to evict.
constexpr unsigned heat_of_a_miss = 2;
constexpr unsigned heat_of_readahead = 1;
constexpr unsigned heat_of_a_write = 1;

std::size_t unit_of(const map_options& options, const any_source& source, std::size_t page,
                    std::size_t most) noexcept {
  const auto wanted = options.unit != 0 ? options.unit : source.advice().unit;
  return std::clamp(std::bit_ceil(std::min(wanted, most)) / page, std::size_t{1}, most / page);
}

}  // namespace

paged_region::paged_region(any_source source, page_range memory, const map_options& options,
                           const surroundings& around)
    : source_(std::move(source)),
      memory_(memory),
      page_size_(around.page_size),
      around_(around),
      writes_(options.writes),
      most_at_once_(
          std::max(std::min(around.buffer_size, most_bytes_at_once) / page_size_, std::size_t{1})),
      table_(memory.size() / page_size_),
      readahead_(options.expected,
                 unit_of(options, source_, page_size_, most_at_once_ * page_size_),
                 first_window_bytes / page_size_, most_at_once_),
      recorder_(table_.pages()),
      deadline_(options.deadline),
      overdue_(options.deadline) {}

page_entry& paged_region::entry(std::size_t page) noexcept {
  return table_.existing(page)[page % page_table::pages_per_block];
}

// Of a huge page. A mark may be left of what is gone, which mincore(2) takes for the page; or it is
// there, but the kernel is moving it to other memory, for as long as copying it takes.
bool paged_region::is_only_marked(std::uintptr_t begin) const noexcept {
  constexpr int most_looks = 20;
  for (int looks = 0; looks < most_looks; ++looks) {
    if (looks != 0) call_sleep(pause_before_retry);
    const auto seen = state_of_page(*around_.on, begin);
    if (!seen || seen->present || !seen->write_protected) return false;
  }
  return true;
}

// Anonymous memory that is not there is none of the page cache's either.
bool paged_region::is_resident(std::size_t page) const noexcept {
  const auto begin = range_of({page, 1}).begin();
  if (is_huge() && is_only_marked(begin)) return false;
  unsigned char there = 0;
  return ::mincore(reinterpret_cast<void*>(begin), 1, &there) == 0 && (there & 1U) != 0;
}

// Or swapped out, or back again since the first look. Where a mark on what is not there could be
// mistaken for what was swapped out, nobody knows.
bool paged_region::is_there(std::size_t page) const noexcept {
  if (is_resident(page)) return true;
  if (is_huge() || around_.on->features().has(feature::wp_unpopulated)) return false;
  const auto seen = state_of_page(*around_.on, range_of({page, 1}).begin());
  return seen && (seen->present || seen->swapped);
}

// Before it counts as what the source has.
void paged_region::note_loss(std::size_t page) noexcept {
  const write_watch::visit watch(watch_);
  if (watch.by() != nullptr) watch.by()->on_loss(page);
}

// What was installed, but the pool had no huge page for it: some kernels say of that that it is
// there (Linux 6.18). Then none of them is, and the pool is given some time.
bool paged_region::drop_if_lacking(page_run installed) const noexcept {
  if (!is_huge()) return false;
  auto page = installed.first;
  while (page < installed.end() && is_resident(page)) ++page;
  if (page == installed.end()) return false;
  return drop_private(range_of(installed));
}

// Locked memory, too.
bool paged_region::drop_private(page_range what) const noexcept {
  constexpr int dontneed_locked = 24;  // MADV_DONTNEED_LOCKED, Linux 5.18
  auto* const begin = reinterpret_cast<void*>(what.begin());
  return ::madvise(begin, what.size(), MADV_DONTNEED) == 0 ||
         ::madvise(begin, what.size(), dontneed_locked) == 0;
}

// Of the same budget. Otherwise somebody gives one back perhaps.
bool paged_region::has_huge_page_leave() const noexcept {
  if (around_.budget->make_room_in_pool(page_size_)) return true;
  call_sleep(pause_for_huge_page);
  return false;
}

// Of several pages that were not installed the first ones may be there all the same.
resolution paged_region::whole(page_run run, resolution answer) const noexcept {
  if (answer.is_resolved()) return drop_if_lacking(run) ? std::errc::not_enough_memory : answer;
  if (run.count > 1) drop_private(range_of(run));
  return answer;
}

resolution paged_region::serve(fault& raised) noexcept {
  count(counts_.faults);
  const auto page = raised.offset() / page_size_;
  recorder_.note(page);
  auto* const block = table_.at(page);
  if (block == nullptr) return std::errc::not_enough_memory;
  if (raised.kind() == fault_kind::write_protect) return serve_write(raised, page, *block);
  return serve_missing(raised, page, *block);
}

// Who finds a page in other hands tries again: those wake nobody but by installing it.
resolution paged_region::serve_missing(fault& raised, std::size_t page,
                                       table_block& block) noexcept {
  auto& at = block[page % page_table::pages_per_block];
  for (auto seen = at.load();;) {
    switch (seen.state()) {
      case paging_state::absent:
        if (at.change(seen, seen.with(paging_state::loading)))
          return load(raised, page, raised.is_write() ? load_for::writing : load_for::reading);
        continue;
      case paging_state::loading:
        readahead_.touch(page);
        // Who loads it wakes those who wait here, not those of other views.
        if (!is_shared()) load_ahead(raised);
        return resolution::retry();
      case paging_state::failed:
        return failure();
      case paging_state::clean:
      case paging_state::dirty:
        if (is_shared()) return show(raised, page, block);
        if (is_there(page)) {
          overdue_.forget(page);
          return resolution::resolved();
        }
        // Somebody has dropped it.
        if (seen.state() == paging_state::dirty) note_loss(page);
        if (!at.change(seen, seen.with(paging_state::loading))) continue;
        if (seen.state() == paging_state::dirty) return load_again(raised, page);
        forget({page, 1});
        return load(raised, page, raised.is_write() ? load_for::writing : load_for::reading);
      case paging_state::writing:
        return is_resident(page) ? resolution::resolved() : resolution::retry();
      default:
        return resolution::retry();
    }
  }
}

resolution paged_region::serve_write(fault& raised, std::size_t page, table_block& block) noexcept {
  if (writes_ == write_policy::none) return refuse_writes();
  auto& at = block[page % page_table::pages_per_block];
  for (auto seen = at.load();;) {
    switch (seen.state()) {
      case paging_state::clean:
      case paging_state::dirty:
        if (!at.change(seen, seen.with(paging_state::opening))) continue;
        return let_write(page, seen.state(), &raised);
      case paging_state::writing:
        writers_wait_.store(true, std::memory_order_release);
        return resolution::retry();
      case paging_state::absent:
      case paging_state::failed:
        return serve_missing(raised, page, block);
      default:
        return resolution::retry();
    }
  }
}

// A page that was claimed to be opened, and was `before`.
resolution paged_region::let_write(std::size_t page, paging_state before, fault* raised) noexcept {
  const write_watch::visit watch(watch_);
  const auto unprotect = [&] {
    return raised != nullptr ? raised->unprotect()
                             : resolve::unprotect(*around_.on, range_of({page, 1}));
  };
  const auto answer = watch.by() != nullptr
                          ? watch.by()->on_write(page, before == paging_state::clean, raised)
                          : unprotect();
  auto& at = entry(page);
  if (answer.is_resolved())
    at.update([](page_word word) {
      return word.with(paging_state::dirty).with_heat(word.heat() + heat_of_a_write);
    });
  else
    at.change(paging_state::opening, before);
  return answer;
}

// Whoever writes what may not be written gets SIGSEGV when he tries again; from then on nothing can
// be moved here.
resolution paged_region::refuse_writes() noexcept {
  moves_.store(false, std::memory_order_relaxed);
  if (::mprotect(reinterpret_cast<void*>(memory_.begin()), memory_.size(), PROT_READ) != 0)
    return resolution::retry();
  return resolution::resolved();
}

// Takes what is absent around a page that was claimed already.
page_run paged_region::claim(page_run window, std::size_t page) noexcept {
  page_run claimed{page, 1};
  const auto take = [&](std::size_t other) {
    auto* const block = table_.at(other);
    return block != nullptr && (*block)[other % page_table::pages_per_block].change(
                                   paging_state::absent, paging_state::loading);
  };
  while (claimed.end() < window.end() && take(claimed.end())) ++claimed.count;
  for (; claimed.first > window.first && take(claimed.first - 1); ++claimed.count) --claimed.first;
  return claimed;
}

void paged_region::set(page_run run, paging_state from, paging_state to) noexcept {
  for_each(run, [&](table_block& block, std::size_t page, std::size_t end) {
    for (; page < end; ++page) block[page % page_table::pages_per_block].change(from, to);
  });
}

// What was counted as resident, and is not.
void paged_region::forget(page_run gone) noexcept {
  for_each(gone, [](table_block& block, std::size_t page, std::size_t end) {
    block.resident().fetch_sub(static_cast<std::uint32_t>(end - page), std::memory_order_relaxed);
  });
  around_.budget->release(gone.count * page_size_);
}

// What was installed. Only the page that was `wanted` shows that it was missed.
void paged_region::become(page_run claimed, paging_state now, std::size_t wanted) noexcept {
  overdue_.forget(claimed.first, claimed.count);
  for_each(claimed, [&](table_block& block, std::size_t page, std::size_t end) {
    block.resident().fetch_add(static_cast<std::uint32_t>(end - page), std::memory_order_relaxed);
    for (; page < end; ++page)
      block[page % page_table::pages_per_block].update([&](page_word seen) {
        const auto heat = page == wanted ? seen.heat() + heat_of_a_miss
                                         : std::max(seen.heat(), heat_of_readahead);
        return seen.with(now).with_heat(heat);
      });
  });
}

paged_memory_statistics paged_region::statistics() const noexcept {
  const auto of = [](const std::atomic<std::uint64_t>& one) {
    return one.load(std::memory_order_relaxed);
  };
  return {of(counts_.faults),        of(counts_.source_reads),  of(counts_.pages_loaded),
          of(counts_.pages_evicted), of(counts_.source_writes), of(counts_.pages_written)};
}

}  // namespace uffd::detail
