// SPDX-License-Identifier: MIT
// How pages of a mapping are loaded for a fault.
#include <algorithm>
#include <cstring>
#include <utility>

#include "detail/monotonic.hpp"
#include "pager/evictor.hpp"
#include "pager/paged_region.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {
namespace {

// Of more pages the one that is waited for is installed first.
constexpr std::size_t first_alone_bytes = std::size_t{64} << 10;
constexpr std::chrono::milliseconds shortest_deadline(10);  // of a read that hangs

}  // namespace

// The bytes of a run: in the buffer, zeroes behind the end of the source, or where the source has
// them.
std::error_code paged_region::read(page_run run, std::span<std::byte> buffer,
                                   std::span<const std::byte>& bytes) noexcept {
  const auto offset = run.first * page_size_;
  const auto size = run.count * page_size_;
  const auto there = static_cast<std::size_t>(std::min<std::uint64_t>(size, this->size() - offset));
  count(counts_.source_reads);
  if (const auto all = source_.bytes(); there == size && all.size() >= offset + size) {
    bytes = all.subspan(offset, size);
    return {};
  }
  bytes = buffer.first(size);
  if (const auto answer = source_.read(offset, buffer.first(there)); answer.error)
    return answer.error;
  std::memset(buffer.data() + there, 0, size - there);
  return {};
}

// The same; nothing if it was given up meanwhile, and is not the caller's any more.
std::optional<std::error_code> paged_region::read_watched(page_run run, std::size_t wanted,
                                                          std::span<std::byte> buffer,
                                                          std::span<const std::byte>& bytes,
                                                          const fault* raised) noexcept {
  loads_under_way::load what{run, wanted};
  if (raised != nullptr && raised->on().fd() != around_.on->fd()) {
    what.view = &raised->on();
    what.page = raised->page().begin();
  }
  const auto load = loads_.begin(what, monotonic_nanoseconds());
  const auto error = read(run, buffer, bytes);
  if (!loads_under_way::end(load)) return std::nullopt;
  return error;
}

void paged_region::give_up_overdue(std::chrono::nanoseconds longer) noexcept {
  const auto limit = (std::max(deadline_, shortest_deadline) + longer).count();
  const auto poison = [&](const handle& on, page_range page) {
    auto poisoned = resolve::poison(on, page, page_size_);
    while (poisoned.kind() == resolution::state::retry)
      poisoned = resolve::poison(on, page, page_size_);
    return poisoned.is_resolved();
  };
  loads_.end_overdue(monotonic_nanoseconds() - limit, [&](const loads_under_way::load& what) {
    around_.budget->release(what.run.count * page_size_);
    if (what.wanted == no_page) return give_back_to_others(what.run);
    note_failure(std::make_error_code(std::errc::timed_out));
    entry(what.wanted).change(paging_state::loading, paging_state::failed);
    give_back_to_others(what.run);
    // In another process's memory nothing else can be done.
    if (what.view != nullptr) poison(*what.view, {what.page, page_size_});
    const auto page = range_of({what.wanted, 1});
    if (poison(*around_.on, page)) return;
    if (!protect_from_access(*around_.on, page, page_size_))
      end_process("a page of a pager can be neither had, poisoned nor protected");
    static_cast<void>(around_.on->wake(page));
  });
}

// Those around it that may be loaded with it, claimed, and it among them.
page_run paged_region::claim_around(const fault& raised, std::size_t page) noexcept {
  auto window = recorder_.window(readahead_, page);
  // Of a handler that isn't the pager's own they may be small.
  const auto most = raised.buffer(window.count * page_size_).size() / page_size_;
  if (most < window.count) window = {page, std::min(most, window.end() - page)};
  return claim(window, page);
}

// Gives back all the others.
void paged_region::shrink_to(std::size_t page, page_run& claimed) noexcept {
  give_back_to_others({claimed.first, page - claimed.first});
  give_back_to_others({page + 1, claimed.end() - page - 1});
  claimed = {page, 1};
}

// Room for all of it, or for that page alone.
bool paged_region::reserve(page_run& claimed, std::size_t page) noexcept {
  auto& budget = *around_.budget;
  if (budget.reserve(claimed.count * page_size_)) return true;
  shrink_to(page, claimed);
  return budget.reserve(page_size_) || (budget.make_room(page_size_) && budget.reserve(page_size_));
}

// For a page that was claimed: with some around it, where there is room and the source gives them.
resolution paged_region::load(fault& raised, std::size_t page, load_for what) noexcept {
  auto run = claim_around(raised, page);
  if (moves() && is_window(run)) {
    const auto loaded = load_window(run, page);
    if (loaded == window_load::done) load_ahead(raised);
    if (loaded == window_load::done || loaded == window_load::given_up)
      return resolution::resolved();
    if (loaded == window_load::unreadable) shrink_to(page, run);
  }
  if (!reserve(run, page))
    return fail_or_retry(page, std::make_error_code(std::errc::not_enough_memory), 0);
  const auto buffer = raised.buffer(run.count * page_size_);
  std::span<const std::byte> bytes;
  auto error = read_watched(run, page, buffer, bytes, &raised);
  if (error && *error && run.count > 1) {
    around_.budget->release((run.count - 1) * page_size_);
    shrink_to(page, run);
    error = read_watched(run, page, buffer, bytes, &raised);
  }
  if (!error) return resolution::resolved();  // somebody else has failed it
  if (*error) {
    around_.budget->release(page_size_);
    return fail_or_retry(page, *error);
  }
  const auto answer = is_shared() ? install_shared(raised, page, run, bytes)
                                  : install(raised, page, run, bytes, what);
  if (answer.is_resolved()) load_ahead(raised);
  return answer;
}

// What was written, and seems to be lost. It counts as written as long as it may come, for it may
// be there after all: nobody can always be sure. Its bytes stay counted meanwhile.
resolution paged_region::load_again(fault& raised, std::size_t page) noexcept {
  const page_run alone{page, 1};
  auto& resident = table_.at(page)->resident();
  resident.fetch_sub(1, std::memory_order_relaxed);
  std::span<const std::byte> bytes;
  const auto error = read_watched(alone, page, raised.buffer(page_size_), bytes, &raised);
  if (!error) return resolution::resolved();  // somebody else has failed it
  if (*error) return stay_written(page, *error);
  const auto answer = copy(raised, alone, bytes, fill(), true);
  if (answer.is_resolved()) {
    become(alone, paging_state::dirty, page);
    count(counts_.pages_loaded);
    return answer;
  }
  if (answer.kind() == resolution::state::failed) return stay_written(page, answer.error());
  resident.fetch_add(1, std::memory_order_relaxed);
  entry(page).change(paging_state::loading, paging_state::dirty);
  return answer;
}

// It could not be loaded again.
resolution paged_region::stay_written(std::size_t page, std::error_code error) noexcept {
  const bool is_there_after_all = is_there(page);
  if (!is_there_after_all && !passes_in_time(page, error)) {
    around_.budget->release(page_size_);
    return fail(page, error);
  }
  table_.at(page)->resident().fetch_add(1, std::memory_order_relaxed);
  entry(page).change(paging_state::loading, paging_state::dirty);
  if (is_there_after_all) return resolution::resolved();
  if (around_.threads == 0) call_sleep(pause_before_retry);
  return resolution::retry();
}

resolution paged_region::copy(fault& raised, page_run run, std::span<const std::byte> bytes,
                              flags<fill_mode> mode, bool is_wanted) const noexcept {
  return copied(run, is_wanted, [&] { return raised.copy(range_of(run), bytes, mode); });
}

// Where it is to be written, `opens` the page that was waited for: it can be written without
// another fault, unless somebody is to be asked first.
resolution paged_region::install(fault& raised, std::size_t page, page_run run,
                                 std::span<const std::byte> bytes, load_for what) noexcept {
  const page_run alone{page, 1};
  const auto bytes_of_page = bytes.subspan((page - run.first) * page_size_, page_size_);
  const write_watch::visit watch(watch_);
  const bool opens =
      what == load_for::writing && writes_ != write_policy::none && watch.by() == nullptr;
  if (!opens && run.count > 1 && bytes.size() <= first_alone_bytes) {
    if (const auto answer = copy(raised, run, bytes, fill(), true); answer.is_resolved()) {
      become(run, paging_state::clean, page);
      count(counts_.pages_loaded, run.count);
      return answer;
    }
    // What is around it may be to blame.
    around_.budget->release((run.count - 1) * page_size_);
    shrink_to(page, run);
  }
  if (opens) entry(page).change(paging_state::loading, paging_state::opening);
  const auto answer = copy(raised, alone, bytes_of_page, opens ? flags<fill_mode>() : fill(), true);
  if (!answer.is_resolved()) {
    if (opens) entry(page).change(paging_state::opening, paging_state::loading);
    return refuse(page, run, answer);
  }
  become(alone, opens ? paging_state::dirty : paging_state::clean, page);
  count(counts_.pages_loaded, run.count);
  if (run.count > 1) install_rest(raised, run, page, bytes);
  return answer;
}

// What was read with a page that is there already.
void paged_region::install_rest(fault& raised, page_run run, std::size_t page,
                                std::span<const std::byte> bytes) noexcept {
  for (const page_run rest :
       {page_run{page + 1, run.end() - page - 1}, page_run{run.first, page - run.first}}) {
    if (rest.count == 0) continue;
    const auto part = bytes.subspan((rest.first - run.first) * page_size_, rest.count * page_size_);
    if (copy(raised, rest, part, fill(), false).is_resolved()) {
      become(rest, paging_state::clean, no_page);
    } else {
      around_.budget->release(rest.count * page_size_);
      give_back_to_others(rest);
    }
  }
}

// An install that failed: for want of memory it may succeed later.
resolution paged_region::refuse(std::size_t page, page_run run, resolution answer) noexcept {
  around_.budget->release(run.count * page_size_);
  shrink_to(page, run);
  if (answer.kind() == resolution::state::failed) return fail_or_retry(page, answer.error());
  give_back({page, 1});
  return answer;
}

// With the page claimed and not counted. Who serves himself would try again at once.
resolution paged_region::fail_or_retry(std::size_t page, std::error_code error,
                                       std::int64_t pause) noexcept {
  if (!passes_in_time(page, error)) return fail(page, error);
  give_back({page, 1});
  if (pause != 0 && around_.threads == 0) call_sleep(pause);
  return resolution::retry();
}

bool paged_region::passes_in_time(std::size_t page, std::error_code error) noexcept {
  return is_transient(error) && !overdue_.is_overdue(page);
}

resolution paged_region::fail(std::size_t page, std::error_code error) noexcept {
  overdue_.forget(page);
  note_failure(error);
  entry(page).change(paging_state::loading, paging_state::failed);
  return error;
}

void paged_region::note_failure(std::error_code error) noexcept {
  failed_number_.store(error.value(), std::memory_order_relaxed);
  failed_category_.store(&error.category(), std::memory_order_release);
}

std::error_code paged_region::failure() const noexcept {
  const auto* const category = failed_category_.load(std::memory_order_acquire);
  if (category == nullptr) return std::make_error_code(std::errc::io_error);
  return {failed_number_.load(std::memory_order_relaxed), *category};
}

}  // namespace uffd::detail
