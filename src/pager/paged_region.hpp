// SPDX-License-Identifier: MIT
// One mapping of a pager: its source, the state of its pages, and what is done to them.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "pager/eviction_hand.hpp"
#include "pager/loads_under_way.hpp"
#include "pager/overdue_pages.hpp"
#include "pager/page_recorder.hpp"
#include "pager/page_table.hpp"
#include "pager/readahead.hpp"
#include "pager/write_watch.hpp"
#include "tracking/paged_area.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/fault.hpp"
#include "uffd/handle.hpp"
#include "uffd/pager/any_source.hpp"
#include "uffd/pager/map_options.hpp"
#include "uffd/pager/paged_memory.hpp"

namespace uffd::detail {

class evictor;
class spare_windows;

class paged_region final : public paged_area {
 public:
  // What the pager knows of itself.
  struct surroundings {
    const handle* on = nullptr;
    std::size_t page_size = 0;
    evictor* budget = nullptr;
    spare_windows* spare = nullptr;  // null where nothing is moved
    int file = -1;                   // of shared memory, as large as that
    std::size_t buffer_size = 0;     // bytes of fault::buffer()
    bool counts = false;
    std::size_t threads = 0;  // that serve faults and may go on afterwards
  };

  // `memory` begins at the first page, and has whole pages.
  paged_region(any_source source, page_range memory, const map_options& options,
               const surroundings& around);

  // The answer to a fault, in a signal handler perhaps.
  resolution serve(fault& raised) noexcept;

  std::error_code prefetch(page_run wanted) noexcept;
  // The same, with the caller's buffer of a page at least.
  std::error_code prefetch(page_run wanted, std::span<std::byte> buffer) noexcept {
    return load_all(wanted, buffer);
  }
  std::error_code pin(page_run wanted, pin_access access);
  void unpin(page_run pinned) noexcept;
  std::error_code flush() noexcept;
  void advise(access_pattern expected) noexcept { readahead_.expect(expected); }
  page_recorder& recorder() noexcept { return recorder_; }

  // Gives up what the source did not give until the deadline, and so much `longer`: who waits for
  // it gets SIGBUS.
  void give_up_overdue(std::chrono::nanoseconds longer) noexcept;
  std::chrono::milliseconds deadline() const noexcept { return deadline_; }

  // For the evictor, with its lock held: claims clean pages that may leave, from where it stopped
  // the last time; adds runs of them to `victims`, and runs of dirty ones to `written`, claimed as
  // well. Looks at `most` pages. False where it came to its end and will begin anew.
  struct finds;
  bool sweep(finds& found, std::size_t most) noexcept;
  // The same for one whole window of so many bytes, which is to be moved away; counts `looks` down.
  bool has_windows_of(std::size_t bytes) const noexcept;
  bool sweep_windows(page_run& found, std::size_t& looks) noexcept;
  // For the evictor: pages that were claimed to leave are gone now, or could not be dropped.
  void has_dropped(page_run claimed, bool is_gone) noexcept;
  // Moves what was claimed, and counts on. False if it is still here, or was dropped.
  bool move_away(page_run claimed, page_range to, const handle& by) noexcept;
  // Writes back what was claimed to be written; then it is as `after` says, dirty again if not.
  std::error_code write_back(page_run claimed, paging_state after) noexcept;
  void note_error(std::error_code error) noexcept;
  // After the memory was unmapped: what was resident counts no more.
  void release_all() noexcept;

  page_range range_of(page_run run) const noexcept {
    return {memory_.begin() + run.first * page_size_, run.count * page_size_};
  }
  std::size_t page_size() const noexcept override { return page_size_; }
  std::size_t pages() const noexcept { return table_.pages(); }
  std::uint64_t size() const noexcept { return source_.size(); }
  const any_source& source() const noexcept { return source_; }
  page_range memory() const noexcept override { return memory_; }
  const handle& on() const noexcept override { return *around_.on; }
  write_policy writes() const noexcept { return writes_; }
  paged_memory_statistics statistics() const noexcept;

  // Other views of the same pages may be served, too, each from its begin.
  bool is_shared() const noexcept { return around_.file >= 0; }
  std::size_t buffer_size() const noexcept { return most_at_once_ * page_size_; }
  // For the evictor: pages of shared memory that were claimed to leave, for everybody.
  bool drop(page_run claimed) const noexcept;

  // For snapshots.
  bool begin_watch(write_watcher& by) noexcept override { return watch_.begin(by); }
  void end_watch() noexcept override { watch_.end(); }
  bool is_written(std::size_t page) noexcept override;
  bool may_be_unprotected(std::size_t page) noexcept override;
  std::error_code read_source(std::size_t first, std::size_t count, std::span<std::byte> buffer,
                              std::span<const std::byte>& bytes) noexcept override;
  bool may_pass(std::error_code error, std::chrono::nanoseconds since) const noexcept override;

  // Around what the evictor does without its lock.
  void begin_eviction() noexcept { evictions_.fetch_add(1); }
  void end_eviction() noexcept { evictions_.fetch_sub(1); }
  void wait_for_evictions() const noexcept {
    while (evictions_.load() != 0) call_sleep(20'000);
  }

 private:
  using table_block = page_table::block;
  static constexpr std::size_t no_page = SIZE_MAX;
  static constexpr std::size_t most_written_at_once = 512;       // pages
  static constexpr std::int64_t pause_before_retry = 1'000'000;  // nanoseconds, as the next
  static constexpr std::int64_t pause_for_huge_page = 10'000'000;

  resolution serve_write(fault& raised, std::size_t page, table_block& block) noexcept;
  resolution let_write(std::size_t page, paging_state before, fault* raised) noexcept;
  resolution refuse_writes() noexcept;
  resolution serve_missing(fault& raised, std::size_t page, table_block& block) noexcept;
  enum class load_for { reading, writing };
  resolution load(fault& raised, std::size_t page, load_for what) noexcept;
  resolution load_again(fault& raised, std::size_t page) noexcept;
  resolution stay_written(std::size_t page, std::error_code error) noexcept;
  resolution install(fault& raised, std::size_t page, page_run run,
                     std::span<const std::byte> bytes, load_for what) noexcept;
  resolution copy(fault& raised, page_run run, std::span<const std::byte> bytes,
                  flags<fill_mode> mode, bool is_wanted) const noexcept;
  void install_rest(fault& raised, page_run run, std::size_t page,
                    std::span<const std::byte> bytes) noexcept;
  resolution refuse(std::size_t page, page_run run, resolution answer) noexcept;
  resolution install_shared(fault& raised, std::size_t page, page_run run,
                            std::span<const std::byte> bytes) noexcept;
  resolution show(fault& raised, std::size_t page, table_block& block) noexcept;
  resolution shown(std::size_t page, resolution answer) noexcept;
  page_run hold(std::size_t page, table_block& block) const noexcept;
  bool is_kept(std::size_t page) const noexcept;
  std::error_code keep(page_run run, std::span<const std::byte> bytes) const noexcept;
  std::error_code put(page_run claimed, std::span<const std::byte> bytes,
                      bool is_wanted) const noexcept;
  std::error_code show_pinned(page_run pinned) const noexcept;
  resolution fail_or_retry(std::size_t page, std::error_code error,
                           std::int64_t pause = pause_before_retry) noexcept;
  bool passes_in_time(std::size_t page, std::error_code error) noexcept;
  resolution fail(std::size_t page, std::error_code error) noexcept;
  std::error_code failure() const noexcept;

  // Memory that is moved to must be writable, so that what may not be written is protected, too.
  bool protects() const noexcept {
    return writes_ != write_policy::none || around_.spare != nullptr;
  }
  bool moves() const noexcept {
    return around_.spare != nullptr && moves_.load(std::memory_order_relaxed);
  }
  flags<fill_mode> fill() const noexcept {
    return protects() ? flags<fill_mode>(fill_mode::write_protect) : flags<fill_mode>();
  }
  bool is_huge() const noexcept { return page_size_ != uffd::page_size(); }
  bool is_resident(std::size_t page) const noexcept;
  bool is_only_marked(std::uintptr_t begin) const noexcept;
  bool is_there(std::size_t page) const noexcept;
  void note_loss(std::size_t page) noexcept;
  bool drop_if_lacking(page_run installed) const noexcept;
  bool drop_private(page_range what) const noexcept;
  bool has_huge_page_leave() const noexcept;
  resolution whole(page_run run, resolution answer) const noexcept;
  // What copy() answers, all or nothing; where the pool has no huge page for what is_wanted,
  // another page leaves for it.
  template <class Copy>
  resolution copied(page_run run, bool is_wanted, Copy&& copy) const noexcept {
    const auto answer = whole(run, copy());
    if (!is_huge() || !is_wanted || answer.error() != std::errc::not_enough_memory) return answer;
    return has_huge_page_leave() ? whole(run, copy()) : answer;
  }
  page_entry& entry(std::size_t page) noexcept;
  template <class Change>
  void for_each(page_run run, Change&& change) noexcept;
  page_run claim(page_run window, std::size_t page) noexcept;
  page_run claim_around(const fault& raised, std::size_t page) noexcept;
  void shrink_to(std::size_t page, page_run& claimed) noexcept;
  bool reserve(page_run& claimed, std::size_t page) noexcept;
  void give_back(page_run claimed) noexcept {
    set(claimed, paging_state::loading, paging_state::absent);
  }
  // Who waits for one of them comes again: whoever has his message may be busy for long.
  void give_back_to_others(page_run claimed) noexcept {
    if (claimed.count == 0) return;
    give_back(claimed);
    static_cast<void>(around_.on->wake(range_of(claimed)));
  }
  void forget(page_run gone) noexcept;
  void become(page_run claimed, paging_state now, std::size_t wanted) noexcept;
  void set(page_run run, paging_state from, paging_state to) noexcept;
  std::error_code read(page_run run, std::span<std::byte> buffer,
                       std::span<const std::byte>& bytes) noexcept;
  std::optional<std::error_code> read_watched(page_run run, std::size_t wanted,
                                              std::span<std::byte> buffer,
                                              std::span<const std::byte>& bytes,
                                              const fault* raised = nullptr) noexcept;
  void note_failure(std::error_code error) noexcept;
  std::error_code write(page_run run) noexcept;
  std::error_code write_present(page_run claimed) noexcept;
  void look_for(page_run run, std::span<bool> there) const noexcept;

  void load_ahead(fault& raised) noexcept;
  static bool is_waited_for(const handle& on) noexcept;
  bool may_go_ahead() const noexcept;
  enum class window_load { done, given_up, unreadable, impossible };
  window_load load_window(page_run claimed, std::size_t wanted) noexcept;
  window_load read_window(page_run claimed, std::size_t wanted, page_range to) noexcept;
  bool move_in(page_run claimed, page_range from) noexcept;
  std::size_t window_pages() const noexcept;
  bool is_window(page_run run) const noexcept {
    return run.count == window_pages() && run.first % run.count == 0;
  }

  // What became of pages that somebody asked for.
  struct asked {
    std::size_t done = 0;  // pages that are there now
    std::error_code error;
    bool is_final = false;  // whatever the error, it is no use to ask again
  };
  asked load_here(page_run claimed, std::span<std::byte> buffer, bool is_wanted) noexcept;
  asked load_next(page_run wanted, std::span<std::byte> buffer, bool may_load) noexcept;
  std::error_code load_all(page_run wanted, std::span<std::byte> buffer) noexcept;
  std::error_code open(std::size_t page, std::span<std::byte> buffer) noexcept;

  void look_at(page_entry& at, std::size_t page, finds& found) noexcept;
  void look_at_window(table_block& block, std::size_t index, finds& found) noexcept;
  bool is_whole(table_block& block, std::size_t index) const noexcept;
  bool claim_window(table_block& block, std::size_t index) noexcept;
  std::error_code flush_block(table_block& block) noexcept;
  void count(std::atomic<std::uint64_t>& counter, std::uint64_t more = 1) const noexcept {
    if (around_.counts) counter.fetch_add(more, std::memory_order_relaxed);
  }

  const any_source source_;
  const page_range memory_;
  const std::size_t page_size_;
  const surroundings around_;
  const write_policy writes_;
  const std::size_t most_at_once_;  // pages
  page_table table_;
  readahead readahead_;
  page_recorder recorder_;
  const std::chrono::milliseconds deadline_;
  overdue_pages overdue_;
  loads_under_way loads_;
  write_watch watch_;
  eviction_hand hand_;  // with the evictor's lock held
  std::atomic<std::uint32_t> evictions_{0};
  std::atomic<bool> moves_{true};
  std::atomic<std::size_t> ahead_{0};         // threads that load what nobody waits for
  std::atomic<std::int64_t> write_after_{0};  // monotonic nanoseconds: not before
  std::atomic<bool> writers_wait_{false};     // for pages that are being written back
  std::atomic<int> failed_number_{0};
  std::atomic<const std::error_category*> failed_category_{nullptr};  // of the last failed page

  std::mutex pins_mutex_;
  std::vector<page_run> pins_;
  std::mutex error_mutex_;
  std::error_code error_;  // the first one in the background

  struct {
    std::atomic<std::uint64_t> faults{0}, source_reads{0}, pages_loaded{0}, pages_evicted{0},
        source_writes{0}, pages_written{0};
  } counts_;
};

// For each block that has pages of `run`: change(block, first page, one past the last).
template <class Change>
void paged_region::for_each(page_run run, Change&& change) noexcept {
  for (auto page = run.first; page < run.end();) {
    auto& block = table_.existing(page);
    const auto end =
        std::min(run.end(), (page / page_table::pages_per_block + 1) * page_table::pages_per_block);
    change(block, page, end);
    page = end;
  }
}

// What a sweep found, claimed.
struct paged_region::finds {
  static constexpr std::size_t most = 32;

  std::array<page_run, most> clean;
  std::size_t clean_runs = 0;
  std::array<page_run, most> dirty;
  std::size_t dirty_runs = 0;
  std::size_t bytes = 0;
  std::size_t wanted = 0;  // bytes: it may find a few pages more
  bool takes_dirty = false;

  bool is_full() const noexcept {
    return clean_runs == most || dirty_runs == most || bytes >= wanted;
  }
};

}  // namespace uffd::detail
