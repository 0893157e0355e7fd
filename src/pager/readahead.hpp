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
    return {first, std::min(wanted(first), pages - first)};
  }

  std::size_t most() const noexcept { return most_; }

  // A page was touched that is being read already.
  void touch(std::size_t page) noexcept {
    for (auto& each : streams_)
      if (is_within(each, page)) each.touched.store(page, std::memory_order_relaxed);
  }
  // The next window that will be wanted, at a multiple of the largest; none if enough has been read
  // already.
  page_run ahead(std::size_t pages) noexcept {
    if (expected_.load(std::memory_order_relaxed) == access_pattern::random) return {};
    for (auto& each : streams_) {
      auto next = each.next.load(std::memory_order_relaxed);
      const bool is_due =
          each.size.load(std::memory_order_relaxed) == most_ && next < pages &&
          next - each.touched.load(std::memory_order_relaxed) < windows_ahead * most_;
      if (!is_due) continue;
      const auto count = std::min(cut(next, most_), pages - next);
      if (each.next.compare_exchange_strong(next, next + count, std::memory_order_relaxed))
        return {next, count};
    }
    return {};
  }

 private:
  static constexpr std::size_t streams = 4;
  static constexpr std::size_t windows_ahead = 4;
  struct stream {
    std::atomic<std::size_t> next{SIZE_MAX};  // after what has been read
    std::atomic<std::size_t> size{0};         // of the last window
    std::atomic<std::size_t> touched{0};      // the last page that was waited for
  };

  static bool is_within(const stream& of, std::size_t page) noexcept {
    const auto next = of.next.load(std::memory_order_relaxed);
    return page < next && next != SIZE_MAX && page >= of.touched.load(std::memory_order_relaxed);
  }
  std::size_t wanted(std::size_t first) noexcept {
    const auto pattern = expected_.load(std::memory_order_relaxed);
    if (pattern == access_pattern::random) return unit_;
    for (auto& each : streams_) {
      const auto before = each.size.load(std::memory_order_relaxed);
      if (each.next.load(std::memory_order_relaxed) == first)
        return remember(each, first, std::clamp(2 * before, first_window_, most_));
      // About to be read by somebody who reads ahead: who comes first does it.
      if (before == most_ && is_within(each, first)) {
        each.touched.store(first, std::memory_order_relaxed);
        return cut(first, most_);
      }
    }
    auto& oldest = streams_[turn_.fetch_add(1, std::memory_order_relaxed) % streams];
    if (pattern == access_pattern::sequential) return remember(oldest, first, most_);
    const auto read = remember(oldest, first, unit_);
    // One touch is no reason to read ahead, even where a unit is as large as any window.
    if (unit_ == most_) oldest.size.store(0, std::memory_order_relaxed);
    return read;
  }
  // Ends where one of the largest windows would, so that those that follow are aligned.
  std::size_t cut(std::size_t first, std::size_t count) const noexcept {
    return std::min(count, most_ - first % most_);
  }
  std::size_t remember(stream& of, std::size_t first, std::size_t count) const noexcept {
    const auto read = cut(first, count);
    of.size.store(count, std::memory_order_relaxed);
    of.touched.store(first, std::memory_order_relaxed);
    of.next.store(first + read, std::memory_order_relaxed);
    return read;
  }

  const std::size_t unit_;
  const std::size_t first_window_;
  const std::size_t most_;
  std::atomic<access_pattern> expected_{access_pattern::automatic};
  std::atomic<std::size_t> turn_{0};
  std::array<stream, streams> streams_;
};

}  // namespace uffd::detail
