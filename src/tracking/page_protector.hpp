// SPDX-License-Identifier: MIT
// What happens while writers stand still: finds what the snapshot needs, and protects it.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

#include "tracking/page_map.hpp"
#include "tracking/page_states.hpp"
#include "tracking/snapshot_memory.hpp"
#include "tracking/work_crew.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {

class page_protector {
 public:
  // `threads`, the caller's own included, share the work. Throws std::system_error.
  page_protector(snapshot_memory& memory, unsigned threads);

  // Before the moment, while nobody waits: what can be done then. `full`: every page is to be
  // saved, not only what changed.
  void prepare(bool full) noexcept;
  // At the moment. Afterwards, what is to be saved is pending and protected, or absent. If that
  // can't be done, the snapshot has failed.
  void protect() noexcept;

  // In the last protect().
  std::size_t protected_bytes() const noexcept { return protected_bytes_.load(); }

 private:
  struct chunk {
    saved_area* area = nullptr;
    page_range range;
  };

  // Pages next to each other that are still to be protected.
  struct pages_to_mark {
    std::size_t first = 0;
    std::size_t end = 0;
  };

  void protect_chunk(const chunk& part) noexcept;
  void look_at(saved_area& area, const mapped_run& run, pages_to_mark& open) noexcept;
  void demand_protected(saved_area& area, std::size_t first, std::size_t end,
                        pages_to_mark& open) noexcept;
  void demand_unprotected(saved_area& area, std::size_t page, pages_to_mark& open) noexcept;
  void pass_over(saved_area& area, std::size_t first, std::size_t end) noexcept;
  void mark(saved_area& area, std::size_t first, std::size_t end) noexcept;
  int write_protect(page_range range, std::size_t page, patience& left) const noexcept;

  snapshot_memory& memory_;
  work_crew crew_;
  std::vector<chunk> chunks_;
  bool full_ = false;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> protected_bytes_{0};
};

}  // namespace uffd::detail
