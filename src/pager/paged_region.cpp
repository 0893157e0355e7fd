// SPDX-License-Identifier: MIT
// Faults of a mapping, and how their pages are loaded.
#include "pager/paged_region.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "detail/monotonic.hpp"
#include "pager/evictor.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {
namespace {

constexpr std::size_t most_bytes_at_once = std::size_t{2} << 20;
constexpr std::size_t first_window_bytes = std::size_t{64} << 10;
// See eviction_hand. A page that is dirty costs more to evict.
constexpr unsigned heat_of_a_miss = 2;
constexpr unsigned heat_of_readahead = 1;
constexpr unsigned heat_of_a_write = 1;
// Of more pages the one that is waited for is installed first.
constexpr std::size_t first_alone_bytes = std::size_t{64} << 10;
constexpr std::chrono::milliseconds shortest_deadline(10);  // of a read that hangs

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
      page_size_(uffd::page_size()),
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

// Anonymous memory that is not there is none of the page cache's either.
bool paged_region::is_resident(std::size_t page) const noexcept {
  unsigned char there = 0;
  const auto range = range_of({page, 1});
  return ::mincore(reinterpret_cast<void*>(range.begin()), range.size(), &there) == 0 &&
         (there & 1U) != 0;
}

resolution paged_region::serve(fault& raised) noexcept {
  count(counts_.faults);
  const auto page = raised.offset() / page_size_;
  recorder_.note(page);
  auto* const block = table_.at(page);
  if (block == nullptr) return std::errc::not_enough_memory;
  if (raised.kind() == fault_kind::write_protect)
    return serve_write(raised, (*block)[page % page_table::pages_per_block]);
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
          return load(raised, page, raised.is_write());
        continue;
      case paging_state::loading:
        readahead_.touch(page);
        load_ahead(raised);
        return resolution::retry();
      case paging_state::failed:
        return failure();
      case paging_state::clean:
      case paging_state::dirty:
        if (is_resident(page)) return resolution::resolved();
        // Somebody has dropped it, or it was swapped out meanwhile.
        if (!at.change(seen, seen.with(paging_state::loading))) continue;
        forget({page, 1});
        return load(raised, page, raised.is_write() || seen.state() == paging_state::dirty);
      case paging_state::writing:
        return is_resident(page) ? resolution::resolved() : resolution::retry();
      default:
        return resolution::retry();
    }
  }
}

resolution paged_region::serve_write(fault& raised, page_entry& at) noexcept {
  if (writes_ == write_policy::none) return refuse_writes();
  for (auto seen = at.load();;) {
    switch (seen.state()) {
      case paging_state::clean:
      case paging_state::dirty: {
        if (!at.change(seen, seen.with(paging_state::opening))) continue;
        const auto answer = raised.unprotect();
        if (answer.is_resolved())
          at.update([](page_word word) {
            return word.with(paging_state::dirty).with_heat(word.heat() + heat_of_a_write);
          });
        else
          at.change(paging_state::opening, seen.state());
        return answer;
      }
      case paging_state::writing:
        writers_wait_.store(true, std::memory_order_release);
        return resolution::retry();
      case paging_state::absent:
      case paging_state::failed:
        return resolution::resolved();
      default:
        return resolution::retry();
    }
  }
}

// Whoever writes what may not be written gets SIGSEGV when he tries again; from then on nothing can
// be moved here.
resolution paged_region::refuse_writes() noexcept {
  moves_.store(false, std::memory_order_relaxed);
  if (::mprotect(reinterpret_cast<void*>(memory_.begin()), memory_.size(), PROT_READ) != 0)
    return std::error_code(errno, std::system_category());
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
std::optional<std::error_code> paged_region::read_watched(
    page_run run, std::size_t wanted, std::span<std::byte> buffer,
    std::span<const std::byte>& bytes) noexcept {
  const auto load = loads_.begin({run, wanted}, monotonic_nanoseconds());
  const auto error = read(run, buffer, bytes);
  if (!loads_under_way::end(load)) return std::nullopt;
  return error;
}

void paged_region::give_up_overdue(std::chrono::nanoseconds longer) noexcept {
  const auto limit = (std::max(deadline_, shortest_deadline) + longer).count();
  loads_.end_overdue(monotonic_nanoseconds() - limit, [this](const loads_under_way::load& what) {
    around_.budget->release(what.run.count * page_size_);
    if (what.wanted == no_page) return give_back(what.run);
    note_failure(std::make_error_code(std::errc::timed_out));
    entry(what.wanted).change(paging_state::loading, paging_state::failed);
    give_back(what.run);
    const auto page = range_of({what.wanted, 1});
    auto poisoned = resolve::poison(*around_.on, page, page_size_);
    while (poisoned.kind() == resolution::state::retry)
      poisoned = resolve::poison(*around_.on, page, page_size_);
    if (poisoned.is_resolved()) return;
    if (!protect_from_access(*around_.on, page, page_size_))
      end_process("a page of a pager can be neither had, poisoned nor protected");
    static_cast<void>(around_.on->wake(page));
  });
}

// For a page that was claimed: with some around it, where there is room and the source gives them.
resolution paged_region::load(fault& raised, std::size_t page, bool for_writing) noexcept {
  auto window = recorder_.window(readahead_, page);
  // Of a handler that isn't the pager's own they may be small.
  const auto most = raised.buffer(window.count * page_size_).size() / page_size_;
  if (most < window.count) window = {page, std::min(most, window.end() - page)};
  auto run = claim(window, page);
  auto& budget = *around_.budget;
  const auto only_that = [&] {
    give_back({run.first, page - run.first});
    give_back({page + 1, run.end() - page - 1});
    run = {page, 1};
  };
  if (moves() && is_window(run)) {
    const auto loaded = load_window(run, page);
    if (loaded == window_load::done) load_ahead(raised);
    if (loaded == window_load::done || loaded == window_load::given_up)
      return resolution::resolved();
    if (loaded == window_load::unreadable) only_that();
  }
  if (!budget.reserve(run.count * page_size_)) {
    only_that();
    if (!budget.reserve(page_size_) &&
        (!budget.make_room(page_size_) || !budget.reserve(page_size_)))
      return fail_or_retry(page, std::make_error_code(std::errc::not_enough_memory));
  }
  const auto buffer = raised.buffer(run.count * page_size_);
  std::span<const std::byte> bytes;
  auto error = read_watched(run, page, buffer, bytes);
  if (error && *error && run.count > 1) {
    budget.release((run.count - 1) * page_size_);
    only_that();
    error = read_watched(run, page, buffer, bytes);
  }
  if (!error) return resolution::resolved();  // somebody else has failed it
  if (*error) {
    budget.release(page_size_);
    return fail_or_retry(page, *error);
  }
  const auto answer =
      install(raised, page, run, bytes, for_writing && writes_ != write_policy::none);
  if (answer.is_resolved()) load_ahead(raised);
  return answer;
}

// `opens` the page that was waited for: it can be written without another fault.
resolution paged_region::install(fault& raised, std::size_t page, page_run run,
                                 std::span<const std::byte> bytes, bool opens) noexcept {
  const auto mode = fill();
  const auto part = [&](page_run of) {
    return bytes.subspan((of.first - run.first) * page_size_, of.count * page_size_);
  };
  const auto first = opens || bytes.size() > first_alone_bytes ? page_run{page, 1} : run;
  if (opens) entry(page).change(paging_state::loading, paging_state::opening);
  const auto answer = raised.copy(range_of(first), part(first), opens ? flags<fill_mode>() : mode);
  if (!answer.is_resolved()) {
    if (opens) entry(page).change(paging_state::opening, paging_state::loading);
    return refuse(page, run, answer);
  }
  become(first, opens ? paging_state::dirty : paging_state::clean, page);
  count(counts_.pages_loaded, run.count);
  if (first.count == run.count) return answer;
  for (const page_run rest :
       {page_run{page + 1, run.end() - page - 1}, page_run{run.first, page - run.first}}) {
    if (rest.count == 0) continue;
    if (raised.copy(range_of(rest), part(rest), mode).is_resolved()) {
      become(rest, paging_state::clean, no_page);
    } else {
      around_.budget->release(rest.count * page_size_);
      give_back(rest);
    }
  }
  return answer;
}

// An install that failed: for want of memory it may succeed later.
resolution paged_region::refuse(std::size_t page, page_run run, resolution answer) noexcept {
  around_.budget->release(run.count * page_size_);
  give_back({run.first, page - run.first});
  give_back({page + 1, run.end() - page - 1});
  if (answer.kind() == resolution::state::failed) return fail_or_retry(page, answer.error());
  give_back({page, 1});
  return answer;
}

// With the page claimed and not counted.
resolution paged_region::fail_or_retry(std::size_t page, std::error_code error) noexcept {
  if (is_transient(error) && !overdue_.is_overdue(page)) {
    give_back({page, 1});
    return resolution::retry();
  }
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

paged_memory_statistics paged_region::statistics() const noexcept {
  const auto of = [](const std::atomic<std::uint64_t>& one) {
    return one.load(std::memory_order_relaxed);
  };
  return {of(counts_.faults),        of(counts_.source_reads),  of(counts_.pages_loaded),
          of(counts_.pages_evicted), of(counts_.source_writes), of(counts_.pages_written)};
}

}  // namespace uffd::detail
