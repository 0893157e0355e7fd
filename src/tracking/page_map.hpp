// SPDX-License-Identifier: MIT
// Which pages of this process are there, and which of them are write-protected: by PAGEMAP_SCAN
// (Linux 6.7), or entry by entry.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

// Pages that are alike.
struct mapped_run {
  page_range range;
  bool is_present = false;  // mapped
  bool is_there = false;    // that, swapped out, or a marker
  bool is_marked = false;   // there, and write-protected by a userfaultfd
};

// What to make use of, where the kernel has it; less stands for older kernels.
enum class page_lookup { scan, entries, entries_without_marks };

class page_map {
 public:
  // Finds out by a page of its own what the kernel tells. Throws std::system_error.
  explicit page_map(const handle& on, page_lookup most = page_lookup::scan);

  // False before Linux 5.14: then is_marked is false everywhere.
  bool tells_marks() const noexcept { return tells_marks_; }

  // Calls each(mapped_run) for all of `range`, in ascending order. Answers 0 or an errno.
  template <class Each>
  int for_each_run(page_range range, Each&& each) const noexcept {
    std::array<mapped_run, 256> found;
    while (!range.empty()) {
      std::size_t count = 0;
      const int number = has_scan_ ? scan(range, found, count) : read(range, found, count);
      if (number != 0) return number;
      for (const auto& run : std::span(found).first(count)) each(run);
    }
    return 0;
  }

 private:
  int scan(page_range& rest, std::span<mapped_run> into, std::size_t& count) const noexcept;
  int read(page_range& rest, std::span<mapped_run> into, std::size_t& count) const noexcept;

  const bool wants_marks_;
  unique_fd pagemap_;
  bool has_scan_ = false;
  bool tells_marks_ = false;
};

}  // namespace uffd::detail
