// SPDX-License-Identifier: MIT
// Faults that can't be dispatched now: a bounded queue, allocated once, without duplicates.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "address_space.hpp"
#include "monotonic.hpp"
#include "uffd/message.hpp"

namespace uffd::detail {

struct waiting_fault {
  std::shared_ptr<address_space> space;
  page_fault event;
  std::int64_t due = 0;  // steady clock, nanoseconds
  std::uint32_t attempts = 0;
};

class waiting_faults {
 public:
  explicit waiting_faults(std::size_t capacity) { items_.reserve(capacity); }

  std::size_t size() const noexcept { return size_.load(std::memory_order_acquire); }

  struct added {
    bool waits;              // false: there is no room
    bool is_new;             // false: it waited before
    std::uint32_t attempts;  // as it waits now
    explicit operator bool() const noexcept { return waits; }
  };

  // The same address with the same cause waits only once, then for the earlier of both times and
  // with the greater number of attempts.
  added add(waiting_fault fault) noexcept {
    const std::lock_guard lock(mutex_);
    for (waiting_fault& item : items_) {
      if (item.space != fault.space || item.event.address != fault.event.address ||
          item.event.cause != fault.event.cause)
        continue;
      item.due = std::min(item.due, fault.due);
      item.attempts = std::max(item.attempts, fault.attempts);
      publish();
      return {true, false, item.attempts};
    }
    if (items_.size() == items_.capacity()) return {false, true, fault.attempts};
    items_.push_back(std::move(fault));
    publish();
    return {true, true, items_.back().attempts};
  }

  // The fault that has been due the longest at `now`.
  std::optional<waiting_fault> take(std::int64_t now) noexcept {
    const std::lock_guard lock(mutex_);
    const auto first = earliest();
    if (first == items_.end() || first->due > now) return std::nullopt;
    std::optional<waiting_fault> taken(std::move(*first));
    if (first != items_.end() - 1) *first = std::move(items_.back());
    items_.pop_back();
    publish();
    return taken;
  }

  // All are due at once: something happened that they may have waited for.
  void make_due() noexcept {
    const std::lock_guard lock(mutex_);
    for (waiting_fault& item : items_) item.due = 0;
    publish();
  }

  // When the next is due, or the latest time there is.
  std::int64_t next_due() const noexcept { return next_.load(std::memory_order_acquire); }

 private:
  static constexpr std::int64_t never = INT64_MAX;

  std::vector<waiting_fault>::iterator earliest() noexcept {
    return std::min_element(
        items_.begin(), items_.end(),
        [](const waiting_fault& a, const waiting_fault& b) { return a.due < b.due; });
  }
  void publish() noexcept {
    const auto first = earliest();
    next_.store(first == items_.end() ? never : first->due, std::memory_order_release);
    size_.store(items_.size(), std::memory_order_release);
  }

  std::mutex mutex_;
  std::vector<waiting_fault> items_;
  std::atomic<std::size_t> size_{0};
  std::atomic<std::int64_t> next_{never};
};

}  // namespace uffd::detail
