// SPDX-License-Identifier: MIT
// A budget: what is counted, and the thread that evicts pages before there is no room.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "detail/thread.hpp"
#include "pager/paged_region.hpp"
#include "pager/sweep_lock.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/pager/memory_budget.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

class evictor {
 public:
  // Throws std::system_error.
  explicit evictor(std::size_t limit);
  evictor(const evictor&) = delete;
  evictor& operator=(const evictor&) = delete;
  ~evictor();

  std::size_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  void set_limit(std::size_t bytes);
  std::size_t resident() const noexcept { return resident_.load(std::memory_order_relaxed); }

  // False where there is no room. In signal handlers too, as all but add() and remove().
  bool reserve(std::size_t bytes) noexcept;
  // Bytes until pages are evicted.
  std::size_t room() const noexcept;
  // Counts even beyond the limit.
  void charge(std::size_t bytes) noexcept { resident_.fetch_add(bytes, std::memory_order_relaxed); }
  void release(std::size_t bytes) noexcept {
    resident_.fetch_sub(bytes, std::memory_order_relaxed);
  }
  // The same for what stays, and is no page; waits for room, a second at most. False also where it
  // would take more than half of the limit.
  bool reserve_buffers(std::size_t bytes) noexcept;
  void release_buffers(std::size_t bytes) noexcept;
  // Drops some clean pages, in the calling thread; of mappings with pages of a certain size, if one
  // is given. False where another one is at it, or there were none among those that it looked at.
  bool make_room(std::size_t bytes, std::size_t page = any_page) noexcept;
  // The same for the pool of huge pages, where there is room in the budget. False where none has
  // left yet: the thread writes some back, if there are such.
  bool make_room_in_pool(std::size_t page) noexcept;
  // Moves a window of as many bytes there, by a handle where `to` is registered: whoever fills it
  // anew has its room. False where another one is at it, or none was found.
  bool take_window(page_range to, const handle& by) noexcept;

  // A region may be added once, and must be removed before it ends: then nobody works on it.
  void add(paged_region& region);
  void remove(paged_region& region) noexcept;

 private:
  void start_thread();
  void run() noexcept;
  bool evict_some() noexcept;
  static constexpr std::size_t any_page = 0;
  paged_region* find(paged_region::finds& found, std::size_t looks,
                     std::size_t page = any_page) noexcept;
  paged_region* find_window(std::size_t bytes, page_run& found) noexcept;
  static std::span<const page_run> write_back(paged_region& of, std::span<page_run> runs) noexcept;
  void drop(paged_region& of, std::span<const page_run> runs) noexcept;
  std::size_t advise(paged_region& of, std::span<const page_run> runs) const noexcept;
  std::size_t margin() const noexcept;
  bool is_short() const noexcept;
  bool has_to_evict() const noexcept {
    return is_short() || lacking_.load(std::memory_order_relaxed) != any_page;
  }
  void wake_up() noexcept;

  std::atomic<std::size_t> limit_;
  std::atomic<std::size_t> resident_{0};
  std::atomic<std::size_t> buffers_{0};         // of that, by reserve_buffers()
  std::atomic<std::size_t> lacking_{any_page};  // pages of which size the pool has none
  std::atomic<bool> is_awake_{false};
  std::atomic<bool> is_over_{false};
  mutable std::atomic<bool> takes_vectors_{true};
  const process_mark home_ = process_mark::here();
  const unique_fd self_;  // this process
  const unique_fd wakes_;

  sweep_lock sweeping_;
  std::vector<paged_region*> regions_;
  std::size_t turn_ = 0;
  std::mutex starting_;
  std::optional<thread> thread_;
};

struct budget_access {
  static const std::shared_ptr<evictor>& evictor_of(const memory_budget& budget) noexcept {
    return budget.evictor_;
  }
};

}  // namespace uffd::detail
