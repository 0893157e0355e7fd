// SPDX-License-Identifier: MIT
// Asks the kernel which pages were written since it protected them, by PAGEMAP_SCAN.
#pragma once

#include <span>

#include "uffd/detail/process.hpp"
#include "uffd/handle.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/tracking/write_tracker.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

class written_page_scan {
 public:
  // Throws std::system_error.
  explicit written_page_scan(const open_options& open);

  const handle& on() const noexcept { return on_; }

  // Ascending runs of written pages until `into` is full; protects them in the same step if they
  // shall be found again only when they are written again. Throws std::system_error.
  written_pages find(page_range part, std::span<page_range> into, bool protects) const;

 private:
  page_range find_some(page_range part, std::span<page_range> into, std::size_t& count,
                       bool protects) const;

  process_mark home_ = process_mark::here();
  handle on_;
  unique_fd pagemap_;
};

}  // namespace uffd::detail
