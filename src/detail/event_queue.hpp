// SPDX-License-Identifier: MIT
// Events between reading and handling, in the kernel's order: a ring mapped once, of which only as
// much takes memory as was ever in use at a time.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "address_space.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {

struct queued_event {
  std::shared_ptr<address_space> space;
  uapi::message raw{};
};

class event_queue {
 public:
  explicit event_queue(std::size_t capacity)
      : capacity_(capacity),
        memory_(mapping::anonymous(align_up(capacity * sizeof(queued_event), page_size()))),
        ring_(reinterpret_cast<queued_event*>(memory_.bytes().data())) {
    // A huge page for the first event would be more than is in use.
    ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_NOHUGEPAGE);
  }
  event_queue(const event_queue&) = delete;
  event_queue& operator=(const event_queue&) = delete;
  ~event_queue() {
    while (pop()) {
    }
  }

  // Events that were read and whose handling has not ended.
  std::size_t unfinished() const noexcept { return unfinished_.load(std::memory_order_seq_cst); }

  bool has_room_for(std::size_t events) const noexcept {
    const std::lock_guard lock(mutex_);
    return count_ + events <= capacity_;
  }

  // Whether the last one that was pushed tells of the same removal, and nobody has popped it.
  bool ends_with_removal(const address_space& space, const uapi::message& raw) const noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == 0) return false;
    const queued_event& last = ring_[(first_ + count_ - 1) % capacity_];
    return last.space.get() == &space && last.raw.event == uapi::event::remove &&
           last.raw.argument.remove.start == raw.argument.remove.start &&
           last.raw.argument.remove.end == raw.argument.remove.end;
  }

  // False if the ring is full.
  bool push(queued_event event) noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == capacity_) return false;
    if (count_ == 0) first_ = 0;
    std::construct_at(&ring_[(first_ + count_++) % capacity_], std::move(event));
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
    std::destroy_at(&ring_[first_]);
    first_ = (first_ + 1) % capacity_;
    --count_;
    return event;
  }

  // One popped event was handled.
  void finish() noexcept { unfinished_.fetch_sub(1, std::memory_order_seq_cst); }

 private:
  mutable std::mutex mutex_;
  const std::size_t capacity_;
  const mapping memory_;
  queued_event* const ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::atomic<std::size_t> unfinished_{0};
};

}  // namespace uffd::detail
