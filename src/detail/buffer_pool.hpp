// SPDX-License-Identifier: MIT
// Buffers for callbacks inside signal handlers: taken and given back without locks or allocator.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "uffd/detail/process.hpp"
#include "uffd/mapping.hpp"

namespace uffd::detail {

// A list of buffers that only grows: what is taken is marked, never unlinked. No forked child
// inherits them; there the pool may only end.
class buffer_pool {
  struct entry {
    std::atomic<bool> is_taken{false};
    entry* next = nullptr;
    std::byte* memory = nullptr;
  };

 public:
  // `count` buffers of `bytes` bytes, rounded up to whole pages. Throws std::system_error.
  buffer_pool(std::size_t count, std::size_t bytes);
  buffer_pool(const buffer_pool&) = delete;
  buffer_pool& operator=(const buffer_pool&) = delete;
  // When all are given back.
  ~buffer_pool();

  // A buffer until its end; or none, where memory is short.
  class loan {
   public:
    loan(loan&& other) noexcept : of_(std::exchange(other.of_, nullptr)), size_(other.size_) {}
    loan& operator=(loan&&) = delete;
    ~loan() {
      if (of_ != nullptr) of_->is_taken.store(false, std::memory_order_release);
    }

    explicit operator bool() const noexcept { return of_ != nullptr; }
    std::span<std::byte> bytes() const noexcept { return {of_->memory, size_}; }

   private:
    friend class buffer_pool;
    loan(entry* of, std::size_t size) noexcept : of_(of), size_(size) {}

    entry* of_;
    std::size_t size_;
  };

  // A free buffer; a new one, which is kept, if all are taken. Async-signal-safe.
  loan borrow() noexcept {
    for (entry* each = first_.load(std::memory_order_acquire); each != nullptr; each = each->next)
      if (take(*each)) return {each, bytes_};
    return {make_another(), bytes_};
  }

  std::size_t buffer_size() const noexcept { return bytes_; }

 private:
  static bool take(entry& wanted) noexcept {
    return !wanted.is_taken.load(std::memory_order_relaxed) &&
           !wanted.is_taken.exchange(true, std::memory_order_acquire);
  }
  entry* make_another() noexcept;

  const process_mark home_;
  const std::size_t bytes_;
  mapping memory_;  // of the first ones
  std::vector<entry> entries_;
  std::atomic<entry*> first_{nullptr};
};

}  // namespace uffd::detail
