// SPDX-License-Identifier: MIT
// Which pages of a mapping were wanted while it was recorded.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "pager/lazy_memory.hpp"
#include "pager/readahead.hpp"

namespace uffd::detail {

// A bit for each page, and one for each stretch of them that has any: of memory that is touched
// only where pages were wanted. Any thread may note, in signal handlers too; begin(), end() and
// noted() are for one at a time.
class page_recorder {
 public:
  explicit page_recorder(std::size_t pages) noexcept : pages_(pages) {}

  void note(std::size_t page) noexcept {
    auto* const bits = bits_.load(std::memory_order_acquire);
    if (bits != nullptr) [[unlikely]]
      set(bits, page);
  }
  void note(page_run run) noexcept {
    auto* const bits = bits_.load(std::memory_order_acquire);
    if (bits == nullptr) [[likely]]
      return;
    for (auto page = run.first; page < run.end(); ++page) set(bits, page);
  }
  // The pages to read for one that was missed. What is read ahead raises no fault when it is
  // wanted: so while it records nothing is, but where all is said to be wanted.
  page_run window(readahead& ahead, std::size_t page) noexcept {
    if (bits_.load(std::memory_order_relaxed) == nullptr) [[likely]]
      return ahead.window(page, pages_);
    const auto run = ahead.expected() == access_pattern::sequential ? ahead.window(page, pages_)
                                                                    : ahead.unit_at(page, pages_);
    note(run);
    return run;
  }

  // What is read before it is missed: nothing.
  page_run window_ahead(readahead& ahead) const noexcept {
    if (bits_.load(std::memory_order_relaxed) != nullptr) return {};
    return ahead.ahead(pages_);
  }

  // False if it records already. Throws std::system_error.
  bool begin();
  void end() noexcept;
  // Ascending, none touches another.
  std::vector<page_run> noted() const;

 private:
  using word = std::atomic<std::uint64_t>;
  static constexpr std::size_t bits_per_word = 64;
  static constexpr std::size_t pages_per_stretch = std::size_t{1} << 15;  // 4 KiB of bits

  static void set_bit(word* words, std::size_t number) noexcept {
    const auto bit = std::uint64_t{1} << number % bits_per_word;
    auto& at = words[number / bits_per_word];
    if ((at.load(std::memory_order_relaxed) & bit) == 0)
      at.fetch_or(bit, std::memory_order_relaxed);
  }
  static bool is_set(const word* words, std::size_t number) noexcept {
    return (words[number / bits_per_word].load(std::memory_order_relaxed) >>
                number % bits_per_word &
            1U) != 0;
  }
  void set(word* bits, std::size_t page) const noexcept {
    set_bit(bits + stretches_at_, page / pages_per_stretch);
    set_bit(bits, page);
  }

  const std::size_t pages_;
  const std::size_t stretches_at_ = pages_ / bits_per_word + 1;  // in words, behind those of pages
  // Kept once it is made: somebody may be noting what has just ended.
  std::optional<lazy_memory> memory_;
  std::atomic<word*> bits_{nullptr};  // null while nothing is recorded
};

}  // namespace uffd::detail
