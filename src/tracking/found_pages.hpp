// SPDX-License-Identifier: MIT
// Pages that were found, as runs in a caller's buffer.
#pragma once

#include <cstddef>
#include <span>

#include "uffd/page_range.hpp"

namespace uffd::detail {

// Is given pages in ascending order; those that touch become one run.
class found_pages {
 public:
  explicit found_pages(std::span<page_range> into) noexcept : into_(into) {}

  // How many runs still fit.
  std::size_t room() const noexcept { return into_.size() - count_; }
  bool empty() const noexcept { return count_ == 0; }
  std::span<page_range> all() const noexcept { return into_.first(count_); }

  // False if there is no room.
  bool add(page_range run) noexcept {
    if (count_ != 0 && into_[count_ - 1].end() == run.begin()) {
      into_[count_ - 1] = range_between(into_[count_ - 1].begin(), run.end());
      return true;
    }
    if (room() == 0) return false;
    into_[count_++] = run;
    return true;
  }

 private:
  std::span<page_range> into_;
  std::size_t count_ = 0;
};

}  // namespace uffd::detail
