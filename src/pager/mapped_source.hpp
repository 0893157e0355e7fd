// SPDX-License-Identifier: MIT
// What a pager has started, and what a mapping of it owns.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include "pager/load_watch.hpp"
#include "pager/paged_region.hpp"
#include "pager/spare_windows.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/mapping.hpp"
#include "uffd/pager/memory_budget.hpp"
#include "uffd/pager/paged_memory.hpp"
#include "uffd/pager/pager.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd::detail {

// One of the three serves.
struct pager_threads {
  // Throws std::system_error where the budget has no room for the buffers of so many threads.
  pager_threads(const pager_options& options, std::size_t buffer_count);
  pager_threads(const pager_threads&) = delete;
  pager_threads& operator=(const pager_threads&) = delete;
  ~pager_threads();

  const handle& on() const noexcept;
  served_region serve(page_range range, paged_region& by, serve_options options);
  // Bytes.
  std::size_t largest_page() const noexcept;
  // Those of a signal handler are the application's own.
  std::size_t threads_that_may_go_on() const noexcept;
  // Once it serves.
  void prepare_to_move();

  memory_budget budget;
  std::shared_ptr<evictor> evicting;
  bool counts;
  std::size_t buffers;      // counted by the budget
  std::size_t buffer_size;  // bytes
  std::optional<spare_windows> spare;
  std::optional<fault_handler> own;
  std::optional<sigbus_handler> in_thread;
  fault_handler* shared = nullptr;
  load_watch watch;
};

struct mapped_source {
  // Throws std::system_error.
  mapped_source(std::shared_ptr<pager_threads> threads, any_source source,
                const map_options& options);
  mapped_source(const mapped_source&) = delete;
  mapped_source& operator=(const mapped_source&) = delete;
  ~mapped_source();

  process_mark home = process_mark::here();
  std::shared_ptr<pager_threads> by;
  spare_windows* spare;  // null where nothing is moved
  mapping memory;
  page_range pages;  // of it
  paged_region region;
  served_region served;
};

struct paged_memory_access {
  static mapped_source& mapped(const paged_memory& memory) noexcept { return *memory.mapped_; }
};

}  // namespace uffd::detail
