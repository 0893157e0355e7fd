// SPDX-License-Identifier: MIT
// What paged memory must show: words as in the source, and counters, each of one worker.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/page_sources.hpp"
#include "uffd/page_range.hpp"

namespace uffd::chaos {

// The first words of a page count, one for each worker.
inline constexpr std::size_t paged_workers = 2;

class paged_model {
 public:
  explicit paged_model(std::size_t bytes)
      : bytes_(bytes), pages_((bytes + page_size() - 1) / page_size()), counts_(all_counters()) {}

  std::size_t pages() const { return pages_; }
  // Of a page, but for what is left of a word at the end.
  std::size_t words_in(std::size_t page) const {
    return std::min(page_size(), bytes_ - page * page_size()) / sizeof(std::uint64_t);
  }
  static std::size_t offset_of(std::size_t page, std::size_t word) {
    return page * page_size() + word * sizeof(std::uint64_t);
  }

  // By who owns the counter, around an increment.
  void begin_increment(std::size_t page, std::size_t worker) {
    at(page, worker).begun.fetch_add(1);
  }
  void end_increment(std::size_t page, std::size_t worker) { at(page, worker).ended.fetch_add(1); }

  // What a counter shows at least after now, or at most before now.
  std::uint64_t least(std::size_t page, std::size_t worker) const {
    return initial(page, worker) + at(page, worker).ended.load();
  }
  std::uint64_t most(std::size_t page, std::size_t worker) const {
    return initial(page, worker) + at(page, worker).begun.load();
  }

  // Where nothing is written back, everything is as in the source again.
  void forget_increments() {
    for (auto& each : counts_) {
      each.begun.store(0);
      each.ended.store(0);
    }
  }
  std::uint64_t increments() const {
    std::uint64_t sum = 0;
    for (const auto& each : counts_) sum += each.ended.load();
    return sum;
  }

 private:
  struct counter {
    std::atomic<std::uint64_t> begun{0};
    std::atomic<std::uint64_t> ended{0};
  };

  std::size_t all_counters() const { return pages_ * paged_workers; }
  static std::uint64_t initial(std::size_t page, std::size_t worker) {
    return test::source_word(offset_of(page, worker));
  }
  counter& at(std::size_t page, std::size_t worker) {
    return counts_[page * paged_workers + worker];
  }
  const counter& at(std::size_t page, std::size_t worker) const {
    return counts_[page * paged_workers + worker];
  }

  const std::size_t bytes_;
  const std::size_t pages_;
  std::vector<counter> counts_;
};

}  // namespace uffd::chaos
