// SPDX-License-Identifier: MIT
// The state of each page of a mapping: a byte for each page of the blocks that were touched.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "pager/lazy_memory.hpp"
#include "pager/paging_state.hpp"

namespace uffd::detail {

// Two levels: which blocks there are (four bytes for each block of the mapping, of memory that is
// touched only where blocks are), and the blocks, side by side in the order of their first touch.
// Any thread may make a block, in signal handlers too.
class page_table {
 public:
  // As many pages as 2 MiB have where pages have 4 KiB.
  static constexpr std::size_t pages_per_block = 512;

  class block {
   public:
    // Of its first page. Only of one that is_known().
    std::size_t first_page() const noexcept {
      return (number_.load(std::memory_order_acquire) - std::size_t{1}) * pages_per_block;
    }
    // Of one that is in use always; of one that is being made sometimes, and never any more if
    // another one was made for the same pages: its pages are all absent.
    bool is_known() const noexcept { return number_.load(std::memory_order_acquire) != 0; }
    page_entry& operator[](std::size_t index) noexcept { return pages_[index]; }
    // How many pages are resident or on their way.
    std::atomic<std::uint32_t>& resident() noexcept { return resident_; }

   private:
    friend class page_table;
    std::atomic<std::uint32_t> number_{0};  // and 1
    std::atomic<std::uint32_t> resident_{0};
    std::array<page_entry, pages_per_block> pages_;
  };

  // Throws std::system_error.
  explicit page_table(std::size_t pages)
      : pages_(pages),
        index_memory_(blocks_for(pages) * sizeof(std::atomic<std::uint32_t>)),
        block_memory_((blocks_for(pages) + spare_blocks) * sizeof(block)) {}

  std::size_t pages() const noexcept { return pages_; }

  // The block of a page; null only when thousands of threads have raced for one.
  block* at(std::size_t page) noexcept {
    auto& entry = index()[page / pages_per_block];
    const auto number = entry.load(std::memory_order_acquire);
    return number != 0 ? &nth(number - 1) : make(page / pages_per_block, entry);
  }
  // The same; null where none was made yet.
  block* find(std::size_t page) noexcept {
    const auto number = index()[page / pages_per_block].load(std::memory_order_acquire);
    return number != 0 ? &nth(number - 1) : nullptr;
  }
  // The same of one that was made before.
  block& existing(std::size_t page) noexcept {
    return nth(index()[page / pages_per_block].load(std::memory_order_acquire) - 1);
  }

  // How many were made, by order of their first touch.
  std::size_t blocks() const noexcept { return made_.load(std::memory_order_acquire); }
  block& nth(std::size_t number) noexcept {
    return reinterpret_cast<block*>(block_memory_.begin())[number];
  }

 private:
  static constexpr std::size_t spare_blocks = 4096;

  static std::size_t blocks_for(std::size_t pages) noexcept {
    return (pages + pages_per_block - 1) / pages_per_block;
  }
  std::atomic<std::uint32_t>* index() noexcept {
    return reinterpret_cast<std::atomic<std::uint32_t>*>(index_memory_.begin());
  }
  block* make(std::size_t number, std::atomic<std::uint32_t>& entry) noexcept;

  std::size_t pages_;
  lazy_memory index_memory_;
  lazy_memory block_memory_;
  std::atomic<std::uint32_t> made_{0};
  std::atomic<std::uint32_t> unused_{0};  // and 1: one that lost a race
};

}  // namespace uffd::detail
