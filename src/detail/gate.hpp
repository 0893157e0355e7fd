// SPDX-License-Identifier: MIT
// Keeps an install from landing behind an event: installs hold it shared, reading messages holds it
// alone, and each event that touches memory moves the generation that installs compare.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "uffd/page_range.hpp"

namespace uffd::detail {

struct address_space;

class gate {
 public:
  // Events that took place before now.
  std::uint64_t generation() const noexcept { return generation_.load(std::memory_order_seq_cst); }

  void lock_shared() noexcept {
    while ((state_.fetch_add(1, std::memory_order_acquire) & writer) != 0) {
      unlock_shared();
      wait_while_written();
    }
  }
  void unlock_shared() noexcept {
    if (state_.fetch_sub(1, std::memory_order_release) == (writer | 1U)) state_.notify_all();
  }
  void lock() noexcept {
    while ((state_.fetch_or(writer, std::memory_order_acquire) & writer) != 0) wait_while_written();
    for (auto seen = state_.load(std::memory_order_acquire); seen != writer;
         seen = state_.load(std::memory_order_acquire))
      state_.wait(seen, std::memory_order_acquire);
  }
  void unlock() noexcept {
    state_.fetch_and(~writer, std::memory_order_release);
    state_.notify_all();
  }

  // Returns once nobody holds the gate alone who held it at the call.
  void wait_for_writer() noexcept {
    lock_shared();
    unlock_shared();
  }

  // With the gate held alone: what `range` held is outdated.
  void record(const address_space* space, page_range range) noexcept {
    const auto next = generation_.load(std::memory_order_relaxed) + 1;
    recent_[next % recent_.size()] = {space, range};
    generation_.store(next, std::memory_order_seq_cst);
  }
  // With the gate held shared: whether `range` was touched since `generation`. More events than are
  // remembered count as a touch: the fault then comes again.
  bool touched_since(std::uint64_t generation, const address_space* space,
                     page_range range) const noexcept {
    const auto now = generation_.load(std::memory_order_relaxed);
    if (now == generation) [[likely]]
      return false;
    if (now - generation > recent_.size()) return true;
    for (auto i = generation + 1; i <= now; ++i) {
      const change& past = recent_[i % recent_.size()];
      if (past.space == space && past.range.overlaps(range)) return true;
    }
    return false;
  }

 private:
  struct change {
    const address_space* space = nullptr;
    page_range range;
  };
  static constexpr std::uint32_t writer = std::uint32_t{1} << 31;

  void wait_while_written() noexcept {
    const auto seen = state_.load(std::memory_order_relaxed);
    if ((seen & writer) != 0) state_.wait(seen, std::memory_order_relaxed);
  }

  std::atomic<std::uint32_t> state_{0};
  std::atomic<std::uint64_t> generation_{0};
  std::array<change, 128> recent_{};
};

}  // namespace uffd::detail
