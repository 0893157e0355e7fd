// SPDX-License-Identifier: MIT
// Since when pages have been tried in vain.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "detail/monotonic.hpp"

namespace uffd::detail {

// Any thread may ask, in signal handlers too. Of more pages than it has places for some are tried
// longer than they should.
class overdue_pages {
 public:
  explicit overdue_pages(std::chrono::milliseconds limit) noexcept
      : limit_(std::chrono::nanoseconds(limit).count()) {}

  // Notes a page that was tried; true if the first time is longer ago than the limit.
  bool is_overdue(std::size_t page) noexcept {
    const auto now = monotonic_nanoseconds();
    for (auto& each : places_) {
      if (each.page.load(std::memory_order_acquire) != page + 1) continue;
      return now - each.since.load(std::memory_order_acquire) > limit_;
    }
    for (auto& each : places_) {
      std::size_t free = 0;
      if (!each.page.compare_exchange_strong(free, taken, std::memory_order_acq_rel)) continue;
      each.since.store(now, std::memory_order_release);
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
  struct place {
    std::atomic<std::size_t> page{0};  // and 1
    std::atomic<std::int64_t> since{0};
  };

  const std::int64_t limit_;
  std::atomic<std::uint32_t> some_{0};
  std::array<place, 64> places_;
};

}  // namespace uffd::detail
