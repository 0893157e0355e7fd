// SPDX-License-Identifier: MIT
// Lets signal handlers read shared structures without locks, slots of their own or thread-local
// variables: whoever replaced one waits until every reader that may have seen it has left.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "uffd/detail/syscall.hpp"

namespace uffd::detail {

// For who waits for others to do a little more. Async-signal-safe.
inline void pause_shortly() noexcept { call_sleep(20'000); }

// Readers count themselves in one of two halves; who waits turns newcomers to the other half, so
// that they don't prolong the waiting, until each half was empty once. A reader counts itself
// before it looks, so one that is counted later than the look at its half sees what is new.
class grace_period {
  struct alignas(64) counts {
    std::array<std::atomic<std::uint32_t>, 2> inside{};
  };
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

 public:
  // From its making to its end, what is loaded stays.
  class reader {
   public:
    explicit reader(grace_period& of) noexcept : counted_(of.counter_of_this_thread()) {
      counted_.fetch_add(1, std::memory_order_seq_cst);
    }
    reader(const reader&) = delete;
    reader& operator=(const reader&) = delete;
    ~reader() { counted_.fetch_sub(1, std::memory_order_release); }

   private:
    std::atomic<std::uint32_t>& counted_;
  };

  // Until all readers that began before have left. One at a time; not from inside a reader.
  void wait() noexcept {
    for (int turned = 0; turned < 2; ++turned) {
      const auto left = half_.fetch_xor(1, std::memory_order_seq_cst);
      for (counts& each : counts_)
        while (each.inside[left].load(std::memory_order_seq_cst) != 0) pause_shortly();
    }
  }

 private:
  // Threads have stacks of their own: most have a counter of their own, too.
  std::atomic<std::uint32_t>& counter_of_this_thread() noexcept {
    const char here = 0;
    const auto stack = reinterpret_cast<std::uintptr_t>(&here);
    auto& mine = counts_[(stack >> 14 ^ stack >> 23) % counts_.size()];
    return mine.inside[half_.load(std::memory_order_seq_cst)];
  }

  std::array<counts, 16> counts_{};
  std::atomic<std::uint32_t> half_{0};
};

}  // namespace uffd::detail
