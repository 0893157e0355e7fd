// SPDX-License-Identifier: MIT
// Finds what a snapshot needs, and protects it: all of it before the moment, while writers go on,
// and at the moment what they wrote since.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
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

  // Before the moment. `full`: every page is to be saved, not only what changed.
  void protect_ahead(bool full) noexcept;
  // At the moment. Afterwards, what is to be saved is pending and protected, or absent. If that
  // can't be done, the snapshot has failed; so it is with the above.
  void protect() noexcept;

  // By the last of each.
  std::size_t bytes_ahead() const noexcept { return bytes_ahead_.load(); }
  std::size_t bytes_at_the_moment() const noexcept { return bytes_at_the_moment_.load(); }

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

  struct kept_pages {
    saved_area* area = nullptr;
    pages_to_mark pages;
  };
  struct found_in_chunk {
    pages_to_mark open;
    std::size_t pages = 0;  // that have to be protected
    bool has_holes = false;
  };
  enum class pass : std::uint8_t { first, again, at_the_moment };

  void protect_all() noexcept;
  void protect_chunk(const chunk& part) noexcept;
  void protect_paged(saved_area& area, const chunk& part) noexcept;
  template <class Demand>
  void for_each_wanted(saved_area& area, std::size_t first, std::size_t end,
                       Demand&& demand) const noexcept;
  void has_found(saved_area& area, const found_in_chunk& found) noexcept;
  void check(const chunk& part, int number, bool has_holes) noexcept;
  void look_at(saved_area& area, const mapped_run& run, found_in_chunk& found) noexcept;
  void demand_protected(saved_area& area, std::size_t first, std::size_t end,
                        found_in_chunk& found) noexcept;
  void demand_unprotected(saved_area& area, std::size_t page, found_in_chunk& found) noexcept;
  void pass_over(saved_area& area, std::size_t first, std::size_t end,
                 found_in_chunk& found) noexcept;
  void extend(saved_area& area, std::size_t first, std::size_t end, pages_to_mark& open) noexcept;
  void settle(saved_area& area, const pages_to_mark& open) noexcept;
  void mark(saved_area& area, std::size_t first, std::size_t end) noexcept;
  int write_protect(page_range range, std::size_t page, patience& left) const noexcept;

  snapshot_memory& memory_;
  work_crew crew_;
  std::vector<chunk> chunks_;
  bool full_ = false;
  pass pass_ = pass::first;
  std::vector<kept_pages> kept_;
  std::atomic<std::size_t> kept_count_{0};
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> found_{0};  // pages, in the last pass
  std::atomic<std::size_t> bytes_ahead_{0};
  std::atomic<std::size_t> bytes_at_the_moment_{0};
};

}  // namespace uffd::detail
