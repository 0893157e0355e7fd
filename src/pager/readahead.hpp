// SPDX-License-Identifier: MIT
// How much to read when a page is touched: what follows the pages read before is read in ever
// larger windows, anything else singly.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "uffd/pager/map_options.hpp"

namespace uffd::detail {

// Neighbouring pages.
struct page_run {
  std::size_t first = 0;
  std::size_t count = 0;

  constexpr std::size_t end() const noexcept { return first + count; }
};

// Any thread may ask, in signal handlers too. Threads that ask at once may spoil a window's size,
// never more.
class readahead {
 public:
  // All in pages; `unit` is a power of two.
  readahead(access_pattern expected, std::size_t unit, std::size_t first_window, std::size_t most)
      : unit_(unit), first_window_(std::max(unit, first_window)), most_(std::max(unit, most)) {
    expect(expected);
  }

  void expect(access_pattern pattern) noexcept {
    expected_.store(pattern, std::memory_order_relaxed);
  }

  access_pattern expected() const noexcept { return expected_.load(std::memory_order_relaxed); }

  // The pages that are read at least, of a mapping of so many.
  page_run unit_at(std::size_t page, std::size_t pages) const noexcept {
    const auto first = page & ~(unit_ - 1);
    return {first, std::min(unit_, pages - first)};
  }
  // The pages to read for one that was touched.
  page_run window(std::size_t page, std::size_t pages) noexcept {
    const auto first = page & ~(unit_ - 1);
    const auto count = std::min(wanted(first), pages - first);
    return {first, count};
  }

 private:
  static constexpr std::size_t streams = 4;
  struct stream {
    std::atomic<std::size_t> next{SIZE_MAX};
    std::atomic<std::size_t> size{0};
  };

  std::size_t wanted(std::size_t first) noexcept {
    const auto pattern = expected_.load(std::memory_order_relaxed);
    if (pattern == access_pattern::random) return unit_;
    for (auto& each : streams_) {
      if (each.next.load(std::memory_order_relaxed) != first) continue;
      const auto before = each.size.load(std::memory_order_relaxed);
      return remember(each, first, std::clamp(2 * before, first_window_, most_));
    }
    auto& oldest = streams_[turn_.fetch_add(1, std::memory_order_relaxed) % streams];
    return remember(oldest, first, pattern == access_pattern::sequential ? most_ : unit_);
  }
  static std::size_t remember(stream& of, std::size_t first, std::size_t count) noexcept {
    of.size.store(count, std::memory_order_relaxed);
    of.next.store(first + count, std::memory_order_relaxed);
    return count;
  }

  const std::size_t unit_;
  const std::size_t first_window_;
  const std::size_t most_;
  std::atomic<access_pattern> expected_{access_pattern::automatic};
  std::atomic<std::size_t> turn_{0};
  std::array<stream, streams> streams_;
};

}  // namespace uffd::detail
