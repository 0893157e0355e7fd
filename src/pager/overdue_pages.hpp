// SPDX-License-Identifier: MIT
// How long pages have been tried in vain.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "detail/monotonic.hpp"

namespace uffd::detail {

// Any thread may ask, in signal handlers too. Of more pages than it has places for some are tried
// longer than they should. A long time without a try counts little: then the process was stopped.
class overdue_pages {
 public:
  explicit overdue_pages(std::chrono::milliseconds limit) noexcept
      : limit_(std::chrono::nanoseconds(limit).count()),
        longest_gap_(std::max(limit_ / 4, shortest_gap)) {}

  // Notes a page that was tried; true if it has been tried for longer than the limit.
  bool is_overdue(std::size_t page) noexcept {
    const auto now = monotonic_nanoseconds();
    for (auto& each : places_) {
      if (each.page.load(std::memory_order_acquire) != page + 1) continue;
      const auto gap = now - each.tried.exchange(now, std::memory_order_acq_rel);
      const auto counted = std::clamp(gap, std::int64_t{0}, longest_gap_);
      return each.waited.fetch_add(counted, std::memory_order_acq_rel) + counted > limit_;
    }
    for (auto& each : places_) {
      std::size_t free = 0;
      if (!each.page.compare_exchange_strong(free, taken, std::memory_order_acq_rel)) continue;
      each.tried.store(now, std::memory_order_release);
      each.waited.store(0, std::memory_order_release);
      each.page.store(page + 1, std::memory_order_release);
      some_.fetch_add(1, std::memory_order_acq_rel);
      break;
    }
    return limit_ <= 0;
  }

  // Of pages that were had, or given up: so many from `first` on.
  void forget(std::size_t first, std::size_t count = 1) noexcept {
    if (some_.load(std::memory_order_relaxed) == 0) [[likely]]
      return;
    for (auto& each : places_) {
      auto noted = each.page.load(std::memory_order_acquire);
      if (noted == 0 || noted == taken || noted - 1 < first || noted - 1 - first >= count) continue;
      if (each.page.compare_exchange_strong(noted, 0, std::memory_order_acq_rel))
        some_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

 private:
  static constexpr std::size_t taken = SIZE_MAX;
  static constexpr std::int64_t shortest_gap = 20'000'000;  // longer than a fault waits to be tried
  struct place {
    std::atomic<std::size_t> page{0};     // and 1
    std::atomic<std::int64_t> tried{0};   // the last time
    std::atomic<std::int64_t> waited{0};  // nanoseconds
  };

  const std::int64_t limit_;
  const std::int64_t longest_gap_;
  std::atomic<std::uint32_t> some_{0};
  std::array<place, 64> places_;
};

}  // namespace uffd::detail
