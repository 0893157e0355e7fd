// SPDX-License-Identifier: MIT
// Events between reading and handling, in the kernel's order: a ring allocated once.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "address_space.hpp"
#include "uffd/detail/uapi.hpp"

namespace uffd::detail {

struct queued_event {
  std::shared_ptr<address_space> space;
  uapi::message raw{};
};

class event_queue {
 public:
  explicit event_queue(std::size_t capacity) : ring_(capacity) {}

  // Events that were read and whose handling has not ended.
  std::size_t unfinished() const noexcept { return unfinished_.load(std::memory_order_seq_cst); }

  // Whether so many can be pushed; those that were popped count until they are handled.
  bool has_room_for(std::size_t events) const noexcept {
    return unfinished() + events <= ring_.size();
  }

  // False if the ring is full.
  bool push(queued_event event) noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == ring_.size()) return false;
    ring_[(first_ + count_++) % ring_.size()] = std::move(event);
    unfinished_.fetch_add(1, std::memory_order_seq_cst);
    return true;
  }

  bool empty() const noexcept {
    const std::lock_guard lock(mutex_);
    return count_ == 0;
  }

  std::optional<queued_event> pop() noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == 0) return std::nullopt;
    std::optional<queued_event> event(std::move(ring_[first_]));
    first_ = (first_ + 1) % ring_.size();
    --count_;
    return event;
  }

  // One popped event was handled.
  void finish() noexcept { unfinished_.fetch_sub(1, std::memory_order_seq_cst); }

 private:
  mutable std::mutex mutex_;
  std::vector<queued_event> ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::atomic<std::size_t> unfinished_{0};
};

}  // namespace uffd::detail
