// SPDX-License-Identifier: MIT
// Memory that the pages of whole windows pass through: out of a place that is given up, filled
// anew, and on to where they are wanted. Nothing is allocated, cleared or copied a second time.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>
#include <vector>

#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region.hpp"

namespace uffd::detail {

class spare_windows {
  struct place {
    page_range memory;
    std::atomic<bool> is_taken{false};
  };

 public:
  // Of a handle that can move pages and has no events. `count` windows of each kind, of `bytes`
  // bytes, a power of two. Throws std::system_error.
  spare_windows(const handle& on, std::size_t count, std::size_t bytes);

  // A window until its end, which drops what is left in it.
  class loan {
   public:
    loan() noexcept = default;
    loan(loan&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    loan& operator=(loan&& other) noexcept {
      std::swap(of_, other.of_);
      return *this;
    }
    ~loan();

    explicit operator bool() const noexcept { return of_ != nullptr; }
    page_range memory() const noexcept { return of_->memory; }

   private:
    friend class spare_windows;
    explicit loan(place* of) noexcept : of_(of) {}

    place* of_ = nullptr;
  };

  // Memory that pages must be moved into before it is touched. Nothing if all of it is lent.
  // Async-signal-safe.
  loan borrow_target() noexcept { return borrow(targets_); }
  // Memory that becomes one huge page when it is written to. Nothing if windows have another size.
  loan borrow_huge() noexcept { return borrow(huge_); }

  std::size_t window_bytes() const noexcept { return bytes_; }
  bool are_huge_pages() const noexcept { return !huge_.empty(); }

 private:
  static loan borrow(std::vector<place>& places) noexcept;

  const std::size_t bytes_;
  mapping memory_;
  std::vector<place> targets_;
  std::vector<place> huge_;
  region registered_;
};

}  // namespace uffd::detail
