// SPDX-License-Identifier: MIT
// Finds which pages were written of memory that is tracked synchronously, and begins anew with
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "tracking/found_pages.hpp"
#include "tracking/trapped_writes.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/page_range.hpp"
#include "uffd/tracking/write_tracker.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

class written_page_collector {
 public:
  // Of memory that is registered for missing pages, too, it also finds what was dropped. Throws
  // std::system_error.
  written_page_collector(std::shared_ptr<trapped_writes> of, bool finds_dropped);

  // Protects all of it for the first time. Throws std::system_error.
  void begin();
  // As memory_tracking::find().
  written_pages find(page_range part, std::span<page_range> into, bool begins_anew);

 private:
  class batch;

  int ask(page_range part) const noexcept;
  std::optional<std::uintptr_t> first_replaced(page_range part) const;
  std::size_t index_of(std::uintptr_t address) const noexcept {
    return (address - of_->memory().begin()) / of_->page_size();
  }

  process_mark home_ = process_mark::here();
  std::shared_ptr<trapped_writes> of_;
  unique_fd pagemap_;  // if it finds what was dropped
  unreadable_source probe_;
  std::mutex one_at_a_time_;
};

}  // namespace uffd::detail
