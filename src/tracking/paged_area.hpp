// SPDX-License-Identifier: MIT
// Memory that a pager serves, as snapshots see it.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <system_error>

#include "uffd/fault.hpp"
#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

// Is asked before pages become writable.
class write_watcher {
 public:
  write_watcher() = default;
  write_watcher(const write_watcher&) = delete;
  write_watcher& operator=(const write_watcher&) = delete;
  virtual ~write_watcher() = default;

  // Unprotects a page, for a fault or without one, if it may be written now; else answers that it
  // is to be tried again. The page can't leave meanwhile. On the fault path.
  virtual resolution on_write(std::size_t page, bool is_as_in_source, fault* raised) noexcept = 0;
  // A page that was written is gone, and comes from the source again.
  virtual void on_loss(std::size_t page) noexcept = 0;
};

// Its pages are in memory where they were written, and as in the source otherwise. What was not
// written is protected, or not there.
class paged_area {
 public:
  paged_area() = default;
  paged_area(const paged_area&) = delete;
  paged_area& operator=(const paged_area&) = delete;
  virtual ~paged_area() = default;

  virtual page_range memory() const noexcept = 0;
  virtual std::size_t page_size() const noexcept = 0;
  virtual const handle& on() const noexcept = 0;

  // From its return on, and until the end returns, no page becomes writable without the watcher.
  // False if there is one already.
  virtual bool begin_watch(write_watcher& by) noexcept = 0;
  virtual void end_watch() noexcept = 0;

  // Whether a page may be other than in the source. Waits for whoever is about to make it so.
  virtual bool is_written(std::size_t page) noexcept = 0;
  // Whether it may be unprotected, of one that the watcher lets nobody write to.
  virtual bool may_be_unprotected(std::size_t page) noexcept = 0;
  // What the source has, in the buffer or where the source keeps it; behind its end are zeroes.
  virtual std::error_code read_source(std::size_t first, std::size_t count,
                                      std::span<std::byte> buffer,
                                      std::span<const std::byte>& bytes) noexcept = 0;
  // Whether that may succeed yet, so long after the first try.
  virtual bool may_pass(std::error_code error, std::chrono::nanoseconds since) const noexcept = 0;
};

}  // namespace uffd::detail
