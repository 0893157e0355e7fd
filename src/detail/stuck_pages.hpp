// SPDX-License-Identifier: MIT
// Pages whose faults come again and again, although each was answered.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace uffd::detail {

// What the kernel lacks it may tell as what is there already, and then only the repetition shows
// it. Remembers some pages at a time, without a lock: a page keeps its place while it comes again,
// though others want it too, or two that take turns would never be told. Threads that note two of
// them at once may mix up a few counts.
class stuck_pages {
 public:
  // Notes an answer that changed nothing. True for one of so many in a row for that page of that
  // address space: it is time to look closer.
  static constexpr std::uint32_t patience = 256;
  bool unchanged(const void* space, std::uintptr_t page) noexcept {
    are_any_.store(true, std::memory_order_relaxed);
    auto& place = place_of(space, page);
    const auto key = key_of(space, page);
    const auto owner = place.key.load(std::memory_order_acquire);
    if (owner != key) {
      const auto others = place.others.fetch_add(1, std::memory_order_relaxed) + 1;
      if (owner != 0 && others < patience) return false;
      place.count.store(0, std::memory_order_relaxed);
      place.key.store(key, std::memory_order_release);
    }
    place.others.store(0, std::memory_order_relaxed);
    if (place.count.fetch_add(1, std::memory_order_relaxed) + 1 < patience) return false;
    place.key.store(0, std::memory_order_relaxed);
    return true;
  }

  // Whether there was any such answer yet. In most programs there never is.
  bool are_any() const noexcept { return are_any_.load(std::memory_order_relaxed); }

  // Notes one that did.
  void changed(const void* space, std::uintptr_t page) noexcept {
    auto& place = place_of(space, page);
    if (place.key.load(std::memory_order_relaxed) == key_of(space, page))
      place.count.store(0, std::memory_order_relaxed);
  }

 private:
  struct place_of_page {
    std::atomic<std::uint64_t> key{0};  // 0: nobody's
    std::atomic<std::uint32_t> count{0};
    std::atomic<std::uint32_t> others{0};  // answers for other pages since the last for this one
  };

  // Odd, so that it is never 0. Pages of one space differ; those of two seldom meet.
  static std::uint64_t key_of(const void* space, std::uintptr_t page) noexcept {
    return (page ^ std::uint64_t{reinterpret_cast<std::uintptr_t>(space)} << 20) | 1;
  }
  place_of_page& place_of(const void* space, std::uintptr_t page) noexcept {
    constexpr std::uint64_t golden = 0x9E37'79B9'7F4A'7C15;
    return places_[key_of(space, page) * golden >> 56];
  }

  std::atomic<bool> are_any_{false};
  std::array<place_of_page, 256> places_;
};

// For all handlers, as signal handlers need them too: of COPY, and of writes to protected pages.
inline constinit stuck_pages pages_without_progress;
inline constinit stuck_pages writes_without_progress;

}  // namespace uffd::detail
