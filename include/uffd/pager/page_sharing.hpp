// SPDX-License-Identifier: MIT
/// \file
/// Pages of one process, shown to another one.
#pragma once

#include <chrono>
#include <memory>

#include "uffd/detail/export.hpp"

namespace uffd {

/// How pages are shared.
struct sharing_options {
  /// Threads that serve the other process's faults. A buffer for each counts in the budget.
  unsigned threads = 1;
  /// How long to wait for the other process: for its answer, and until it takes the pages.
  std::chrono::milliseconds time_limit = std::chrono::seconds(10);
};

/// Serves one other process's faults of a paged_memory, on threads of its own, until it ends: then
/// that process can't access its pages any more (shared_pages). Must end before the paged_memory;
/// in a forked child its end does nothing. Move-only; one that was moved from may only be assigned
/// to or end.
class [[nodiscard]] UFFDPP_EXPORT page_sharing {
 public:
  page_sharing(page_sharing&& other) noexcept;
  page_sharing& operator=(page_sharing&& other) noexcept;
  ~page_sharing();

  /// True once the other process has given its pages up, or ended: so may this.
  bool is_over() const noexcept;
  /// To wait for that: poll(2) tells POLLRDHUP. Stays this object's.
  int fd() const noexcept;

 private:
  friend class paged_memory;
  struct state;
  explicit page_sharing(std::unique_ptr<state> started) noexcept;

  std::unique_ptr<state> state_;
};

}  // namespace uffd
