// SPDX-License-Identifier: MIT
// How pages of a mapping leave, and how they are written back.
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <utility>

#include "detail/monotonic.hpp"
#include "pager/evictor.hpp"
#include "pager/paged_region.hpp"
#include "uffd/error.hpp"
#include "uffd/resolve.hpp"

// ThreadSanitizer's, where there is one.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" {
[[gnu::weak]] void AnnotateIgnoreReadsBegin(const char* file, int line);
[[gnu::weak]] void AnnotateIgnoreReadsEnd(const char* file, int line);
}
// NOLINTEND(readability-identifier-naming)

namespace uffd::detail {
namespace {

constexpr std::int64_t pause_after_error = 100'000'000;  // nanoseconds

// What is next to the last run joins it.
void add(std::span<page_run> runs, std::size_t& count, page_run more) noexcept {
  if (count != 0 && runs[count - 1].end() == more.first)
    runs[count - 1].count += more.count;
  else
    runs[count++] = more;
}

void pause() noexcept {
  const timespec moment{0, 20'000};
  ::nanosleep(&moment, nullptr);
}

}  // namespace

void paged_region::look_at(page_entry& at, std::size_t page, finds& found) noexcept {
  auto seen = at.load();
  const auto state = seen.state();
  if (state == paging_state::absent) {
    if (const auto cooler = hand_.passes_gone(seen); cooler.bits() != seen.bits())
      at.change(seen, cooler);
    return;
  }
  const bool is_dirty = state == paging_state::dirty;
  if (seen.is_pinned() || (state != paging_state::clean && !is_dirty)) return;
  if (is_dirty && !found.takes_dirty) return;
  if (auto marked = seen; !hand_.takes(marked)) {
    if (marked.bits() != seen.bits()) at.change(seen, marked);
    return;
  }
  const auto claimed = is_dirty ? paging_state::writing : paging_state::leaving;
  if (!at.change(seen, seen.with(claimed))) return;
  found.bytes += page_size_;
  if (is_dirty)
    add(found.dirty, found.dirty_runs, {page, 1});
  else
    add(found.clean, found.clean_runs, {page, 1});
}

void paged_region::look_at_window(table_block& block, std::size_t index, finds& found) noexcept {
  if (!claim_window(block, index)) return;
  found.bytes += window_pages() * page_size_;
  add(found.clean, found.clean_runs, {block.first_page() + index, window_pages()});
}

bool paged_region::sweep(finds& found, std::size_t most) noexcept {
  const auto takes_dirty =
      std::exchange(found.takes_dirty,
                    found.takes_dirty && writes_ == write_policy::write_back &&
                        monotonic_nanoseconds() >= write_after_.load(std::memory_order_relaxed));
  constexpr auto per_block = page_table::pages_per_block;
  const auto end = table_.blocks() * per_block;
  for (; hand_.at() < end && most != 0 && !found.is_full(); --most) {
    const auto index = hand_.at() % per_block;
    auto& block = table_.nth(hand_.at() / per_block);
    if (!block.is_known() || block.resident().load(std::memory_order_relaxed) == 0) {
      hand_.move_to(hand_.at() - index + per_block);
      continue;
    }
    if (moves() && index % window_pages() == 0 && is_whole(block, index)) {
      look_at_window(block, index, found);
      hand_.move_to(hand_.at() + window_pages());
      continue;
    }
    hand_.move_to(hand_.at() + 1);
    look_at(block[index], block.first_page() + index, found);
  }
  found.takes_dirty = takes_dirty;
  if (hand_.at() < end) return true;
  hand_.begin_turn();
  return false;
}

void paged_region::has_dropped(page_run claimed, bool is_gone) noexcept {
  if (is_gone) {
    forget(claimed);
    count(counts_.pages_evicted, claimed.count);
  }
  set(claimed, paging_state::leaving, is_gone ? paging_state::absent : paging_state::clean);
}

// Writers wait meanwhile. They try again by themselves, but sooner when they are woken.
std::error_code paged_region::write_back(page_run claimed, paging_state after) noexcept {
  const auto range = range_of(claimed);
  outcome done;
  do done = around_.on->write_protect(range);
  while (done.error() == condition::retry);
  auto error = done.error();
  if (!error) error = write_present(claimed);
  if (error) {
    while (resolve::unprotect(*around_.on, range).kind() == resolution::state::retry) {
    }
    set(claimed, paging_state::writing, paging_state::dirty);
    write_after_.store(monotonic_nanoseconds() + pause_after_error, std::memory_order_relaxed);
    return error;
  }
  set(claimed, paging_state::writing, after);
  if (writers_wait_.exchange(false, std::memory_order_acq_rel))
    static_cast<void>(around_.on->wake(range));
  return {};
}

// What somebody has dropped comes from the source again. It must not be asked for here, where its
// pages wait for the end of this.
std::error_code paged_region::write_present(page_run claimed) noexcept {
  std::array<bool, most_written_at_once> there{};
  for (auto rest = claimed; rest.count != 0;) {
    const page_run now{rest.first, std::min(rest.count, there.size())};
    look_for(now, there);
    for (std::size_t begin = 0, end = 0; begin < now.count; begin = end) {
      while (end < now.count && there[end] == there[begin]) ++end;
      if (!there[begin]) continue;
      if (const auto error = write({now.first + begin, end - begin})) return error;
    }
    rest = {now.end(), rest.count - now.count};
  }
  return {};
}

// Which of them are there.
void paged_region::look_for(page_run run, std::span<bool> there) const noexcept {
  std::array<unsigned char, most_written_at_once> resident{};
  if (!is_huge())
    ::mincore(reinterpret_cast<void*>(range_of(run).begin()), run.count * page_size_,
              resident.data());
  for (std::size_t i = 0; i < run.count; ++i)
    there[i] = (resident[i] & 1U) != 0 || is_there(run.first + i);
}

namespace {

// Protection orders those who write to the memory and who reads it to write it back: no tool sees
// that.
class ordered_reads {
 public:
  ordered_reads() noexcept {
    if (AnnotateIgnoreReadsBegin != nullptr) AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  }
  ordered_reads(const ordered_reads&) = delete;
  ordered_reads& operator=(const ordered_reads&) = delete;
  ~ordered_reads() {
    if (AnnotateIgnoreReadsEnd != nullptr) AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};

}  // namespace

std::error_code paged_region::write(page_run run) noexcept {
  const auto offset = run.first * page_size_;
  const auto size = static_cast<std::size_t>(
      std::min<std::uint64_t>(run.count * page_size_, this->size() - offset));
  count(counts_.source_writes);
  count(counts_.pages_written, run.count);
  const ordered_reads while_protected;
  return source_.write(offset, {reinterpret_cast<const std::byte*>(range_of(run).begin()), size});
}

void paged_region::release_all() noexcept {
  std::size_t pages = 0;
  for (std::size_t number = 0; number < table_.blocks(); ++number)
    pages += table_.nth(number).resident().exchange(0);
  around_.budget->release(pages * page_size_);
}

void paged_region::note_error(std::error_code error) noexcept {
  const std::lock_guard lock(error_mutex_);
  if (!error_) error_ = error;
}

// Pages in others' hands are waited for: they may have been written before the call. A pinned one
// may be written at any time, and so stays dirty; it is claimed all the same, for of two who write
// it the one who read it first may write it last.
std::error_code paged_region::flush_block(table_block& block) noexcept {
  std::error_code first_error;
  const auto note = [&](std::error_code error) {
    if (!first_error) first_error = error;
  };
  page_run run;
  const auto write_run = [&] {
    if (run.count != 0) note(write_back(std::exchange(run, {}), paging_state::clean));
  };
  for (std::size_t index = 0; index < page_table::pages_per_block;) {
    auto seen = block[index].load();
    const auto page = block.first_page() + index;
    if (seen.state() == paging_state::opening || seen.state() == paging_state::writing) {
      write_run();
      pause();
      continue;
    }
    if (seen.state() != paging_state::dirty) {
      write_run();
    } else if (!block[index].change(seen, seen.with(paging_state::writing))) {
      continue;
    } else if (seen.is_pinned()) {
      write_run();
      note(write({page, 1}));
      block[index].change(paging_state::writing, paging_state::dirty);
    } else {
      run = run.count == 0 ? page_run{page, 1} : page_run{run.first, run.count + 1};
    }
    ++index;
  }
  write_run();
  return first_error;
}

std::error_code paged_region::flush() noexcept {
  if (writes_ != write_policy::write_back) return {};
  std::error_code first_error;
  const auto note = [&](std::error_code error) {
    if (!first_error) first_error = error;
  };
  {
    const std::lock_guard lock(error_mutex_);
    note(std::exchange(error_, {}));
  }
  for (std::size_t number = 0; number < table_.blocks(); ++number)
    if (auto& block = table_.nth(number); block.is_known()) note(flush_block(block));
  note(source_.flush());
  return first_error;
}

}  // namespace uffd::detail
