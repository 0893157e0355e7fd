// SPDX-License-Identifier: MIT
// What is asked of a mapping without a fault: pages to be there, and to stay there.
#include <time.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "pager/evictor.hpp"
#include "pager/paged_region.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {
namespace {

void pause() noexcept {
  const timespec moment{0, 50'000};
  ::nanosleep(&moment, nullptr);
}

}  // namespace

// To where nobody waits for it, unless it was asked for.
std::error_code paged_region::put(page_run claimed, std::span<const std::byte> bytes,
                                  bool is_wanted) const noexcept {
  if (is_shared()) return keep(claimed, bytes);
  const auto answer = copied(claimed, is_wanted, [&] {
    return resolve::copy(*around_.on, range_of(claimed).begin(), bytes, fill(), page_size_);
  });
  if (answer.is_resolved() || answer.error()) return answer.error();
  return std::make_error_code(std::errc::resource_unavailable_try_again);
}

// Installs what was claimed, or gives it back.
paged_region::asked paged_region::load_here(page_run claimed, std::span<std::byte> buffer,
                                            bool is_wanted) noexcept {
  const asked given_up{0, std::make_error_code(std::errc::timed_out), true};
  if (moves() && is_window(claimed)) {
    const auto loaded = load_window(claimed, no_page);
    if (loaded == window_load::done) return {claimed.count, {}, false};
    if (loaded == window_load::given_up) return given_up;
  }
  auto& budget = *around_.budget;
  const auto size = claimed.count * page_size_;
  if (!budget.reserve(size) && (!budget.make_room(size) || !budget.reserve(size))) {
    give_back_to_others(claimed);
    return {0, std::make_error_code(std::errc::not_enough_memory), false};
  }
  std::span<const std::byte> bytes;
  const auto answer_of_source = read_watched(claimed, no_page, buffer, bytes);
  if (!answer_of_source) return given_up;
  auto error = *answer_of_source;
  if (!error) {
    error = put(claimed, bytes, is_wanted);
    if (!error) {
      become(claimed, paging_state::clean, no_page);
      count(counts_.pages_loaded, claimed.count);
      return {claimed.count, {}, false};
    }
  }
  budget.release(size);
  give_back_to_others(claimed);
  return {0, error, false};
}

// The first pages of `wanted`. None, and no error: somebody else is at it. Who `may_load` nothing
// any more still gets what others load.
paged_region::asked paged_region::load_next(page_run wanted, std::span<std::byte> buffer,
                                            bool may_load) noexcept {
  auto* const block = table_.at(wanted.first);
  if (block == nullptr) return {0, std::make_error_code(std::errc::not_enough_memory), false};
  auto& at = (*block)[wanted.first % page_table::pages_per_block];
  const auto seen = at.load();
  // One that is being written may have to leave after that, unless it was pinned before.
  if (seen.is_present() && !(seen.is_pinned() && seen.state() == paging_state::writing))
    return {1, {}, false};
  if (seen.state() == paging_state::failed) return {0, failure(), true};
  if (!may_load && seen.state() == paging_state::absent)
    return {0, std::make_error_code(std::errc::timed_out), true};
  if (!may_load || !at.change(paging_state::absent, paging_state::loading)) return {};
  auto window = wanted;
  window.count = std::min(wanted.count, buffer.size() / page_size_);
  const auto claimed = claim(window, wanted.first);
  const auto first_try = load_here(claimed, buffer, true);
  if (!first_try.error || first_try.is_final || claimed.count == 1) return first_try;
  // What follows may be to blame.
  if (!at.change(paging_state::absent, paging_state::loading)) return {};
  return load_here({wanted.first, 1}, buffer, true);
}

std::error_code paged_region::load_all(page_run wanted, std::span<std::byte> buffer) noexcept {
  bool may_load = true;
  while (wanted.count != 0) {
    const auto next = load_next(wanted, buffer, may_load);
    // Somebody else may have loaded it meanwhile, or be about to.
    if (next.is_final && std::exchange(may_load, false)) continue;
    if (next.error) {
      if (next.is_final || !is_transient(next.error) || overdue_.is_overdue(wanted.first)) {
        overdue_.forget(wanted.first);
        return next.error;
      }
    }
    if (next.done == 0) {
      pause();
      continue;
    }
    overdue_.forget(wanted.first);
    may_load = true;
    wanted = {wanted.first + next.done, wanted.count - next.done};
  }
  return {};
}

std::error_code paged_region::prefetch(page_run wanted) noexcept {
  try {
    std::vector<std::byte> buffer(std::min(wanted.count, most_at_once_) * page_size_);
    return load_all(wanted, buffer);
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  }
}

// Marked first: what is there then can't leave.
std::error_code paged_region::pin(page_run wanted, pin_access access) {
  std::vector<std::byte> buffer(std::min(wanted.count, most_at_once_) * page_size_);
  for (auto page = wanted.first; page < wanted.end(); ++page)
    if (table_.at(page) == nullptr) return std::make_error_code(std::errc::not_enough_memory);
  {
    const std::lock_guard lock(pins_mutex_);
    pins_.push_back(wanted);
    recorder_.note(wanted);
    for (auto page = wanted.first; page < wanted.end(); ++page)
      entry(page).update([](page_word seen) { return seen.with_pin(true); });
  }
  auto error = load_all(wanted, buffer);
  if (!error && is_shared()) error = show_pinned(wanted);
  if (access == pin_access::write)
    for (auto page = wanted.first; !error && page < wanted.end(); ++page)
      error = open(page, buffer);
  if (error) unpin(wanted);
  return error;
}

void paged_region::unpin(page_run pinned) noexcept {
  const std::lock_guard lock(pins_mutex_);
  const auto mine = std::find_if(pins_.begin(), pins_.end(), [&](page_run each) {
    return each.first == pinned.first && each.count == pinned.count;
  });
  pins_.erase(mine);
  for (auto page = pinned.first; page < pinned.end(); ++page) {
    const bool is_kept = std::any_of(pins_.begin(), pins_.end(), [&](page_run other) {
      return page >= other.first && page < other.end();
    });
    if (!is_kept) entry(page).update([](page_word seen) { return seen.with_pin(false); });
  }
}

// Lets a pinned page be written without a fault.
std::error_code paged_region::open(std::size_t page, std::span<std::byte> buffer) noexcept {
  auto& at = entry(page);
  for (;;) {
    auto seen = at.load();
    // For a snapshot also what was written is protected, and stays so after it.
    const bool is_dirty = seen.state() == paging_state::dirty;
    if (is_dirty && !watch_.was_on()) return {};
    if (seen.state() != paging_state::clean && !is_dirty) {
      if (seen.state() == paging_state::absent || seen.state() == paging_state::failed) {
        if (const auto error = load_all({page, 1}, buffer)) return error;
      } else {
        pause();
      }
      continue;
    }
    if (!at.change(seen, seen.with(paging_state::opening))) continue;
    const auto answer = let_write(page, seen.state(), nullptr);
    if (answer.is_resolved()) return {};
    if (answer.error()) return answer.error();
    pause();
  }
}

}  // namespace uffd::detail
