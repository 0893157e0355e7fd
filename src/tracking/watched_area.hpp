// SPDX-License-Identifier: MIT
// An area that a pager serves: from its making to its end a snapshotter hears of writes to it.
#pragma once

#include <cerrno>
#include <cstddef>
#include <memory>
#include <utility>

#include "tracking/paged_area.hpp"
#include "tracking/snapshot_memory.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {

class watched_area final : public write_watcher {
 public:
  // Throws std::system_error (EBUSY) where another one hears of them.
  watched_area(std::shared_ptr<snapshot_memory> memory, saved_area& area)
      : memory_(std::move(memory)), area_(area) {
    if (!area_.by_pager->begin_watch(*this))
      throw_errno(EBUSY, "snapshotter " + to_string(area_.range) +
                             ": another snapshotter saves this paged memory");
  }
  ~watched_area() override {
    if (!home_.in_child()) area_.by_pager->end_watch();
  }

  resolution on_write(std::size_t page, bool is_as_in_source, fault* raised) noexcept override {
    return memory_->on_write(area_, page, is_as_in_source, raised);
  }
  void on_loss(std::size_t page) noexcept override { memory_->on_remove(area_, area_.page(page)); }

 private:
  const process_mark home_ = process_mark::here();
  const std::shared_ptr<snapshot_memory> memory_;
  saved_area& area_;
};

}  // namespace uffd::detail
