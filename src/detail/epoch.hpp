// SPDX-License-Identifier: MIT
// Lets readers go through shared structures without locks or counts: what is replaced is kept until
// every reader that may have seen it has left.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace uffd::detail {

struct served_range;

// One reader's place, on cache lines of its own.
struct alignas(128) reader_slot {
  std::atomic<std::uint64_t> epoch{0};                // 0: outside
  std::atomic<std::uint64_t> turns{0};                // how often it entered
  std::atomic<const served_range*> current{nullptr};  // the range whose callback it runs
  std::atomic<bool> runs{false};                      // its thread serves
};

class epoch {
  struct retired {
    std::uint64_t epoch = 0;
    std::shared_ptr<const void> object;
  };

 public:
  explicit epoch(std::size_t readers) : slots_(readers) {}

  reader_slot& slot(std::size_t index) noexcept { return slots_[index]; }
  std::size_t readers() const noexcept { return slots_.size(); }

  void enter(reader_slot& slot) noexcept {
    slot.turns.store(slot.turns.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    slot.epoch.store(now_.load(std::memory_order_acquire), std::memory_order_seq_cst);
  }
  void leave(reader_slot& slot) noexcept { slot.epoch.store(0, std::memory_order_release); }

  // A place for what will be retired: whoever publishes a change must not fail after it.
  class place {
   public:
    place() : item_(1) {}

   private:
    friend class epoch;
    std::list<retired> item_;
  };
  // Keeps `object`, which new readers can't find any more, for those that found it before.
  void retire(place where, std::shared_ptr<const void> object) noexcept {
    const std::lock_guard lock(mutex_);
    where.item_.front() = {now_.fetch_add(1, std::memory_order_seq_cst), std::move(object)};
    retired_.splice(retired_.end(), where.item_);
    waiting_.store(true, std::memory_order_relaxed);
  }
  void retire(std::shared_ptr<const void> object) { retire(place(), std::move(object)); }

  bool has_retired() const noexcept { return waiting_.load(std::memory_order_relaxed); }

  // Frees what nobody can see any more. `self`, if given, holds nothing at the moment. Allocates
  // nothing: workers do this.
  void collect(const reader_slot* self) noexcept {
    std::list<retired> freed;
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;
    const auto oldest = oldest_reader(self);
    const auto kept = std::find_if(retired_.begin(), retired_.end(),
                                   [&](const retired& item) { return item.epoch >= oldest; });
    freed.splice(freed.end(), retired_, retired_.begin(), kept);
    waiting_.store(!retired_.empty(), std::memory_order_relaxed);
  }

 private:
  std::uint64_t oldest_reader(const reader_slot* self) const noexcept {
    std::uint64_t oldest = ~std::uint64_t{0};
    for (const reader_slot& slot : slots_) {
      const auto entered = slot.epoch.load(std::memory_order_seq_cst);
      if (&slot != self && entered != 0 && entered < oldest) oldest = entered;
    }
    return oldest;
  }

  std::vector<reader_slot> slots_;
  std::atomic<std::uint64_t> now_{1};
  std::atomic<bool> waiting_{false};
  std::mutex mutex_;
  std::list<retired> retired_;  // in the order of their epochs
};

}  // namespace uffd::detail
