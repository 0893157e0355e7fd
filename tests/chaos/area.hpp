// SPDX-License-Identifier: MIT
// The memory of a lane for one life: an arena of places, each with a page or with nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "expectation.hpp"
#include "support/memory.hpp"
#include "uffd/page_range.hpp"

namespace uffd::chaos {

// Some places in a row.
struct row {
  std::size_t first = 0;
  std::size_t count = 0;

  std::size_t end() const { return first + count; }
  bool has(std::size_t place) const { return place >= first && place < end(); }
};

// What a place must hold.
struct place {
  enum class use : std::uint8_t {
    nothing,  // every access is SIGSEGV
    served,
    ended,  // its range has ended: what was there is, all else is inaccessible
    lost,   // somebody else has mapped there
  };
  use used_for = use::nothing;
  identity whose;
  bool is_known = false;         // touched since it was dropped; `generation` is what it shows
  bool is_mapped = false;        // known, and nothing has taken it from our page tables
  bool may_vanish = false;       // dropped lazily
  bool may_be_poisoned = false;  // a fault has failed there
  bool is_protected = false;     // the next write must be told of
  std::uint32_t generation = 0;
  std::uint32_t least = 0;  // what it may show if it is filled from here on
  std::array<std::uint32_t, most_touchers> written{};  // counts, 0: what was served

  // Nothing is there any more, what comes is of generation `next` or later.
  void drop(std::uint32_t next);
};

class area {
 public:
  // Reserves addresses; throws std::system_error.
  area(test::memory_kind kind, std::size_t places);
  area(const area&) = delete;
  area& operator=(const area&) = delete;
  ~area();

  test::memory_kind kind() const { return kind_; }
  std::size_t page_size() const { return page_size_; }
  std::size_t size() const { return places_.size(); }
  page_range arena() const { return {begin_, places_.size() * page_size_}; }
  std::uintptr_t at(std::size_t index) const { return begin_ + index * page_size_; }
  page_range range_of(row where) const { return {at(where.first), where.count * page_size_}; }
  place& operator[](std::size_t index) { return places_[index]; }
  const place& operator[](std::size_t index) const { return places_[index]; }

  // The places in a row around `index`, all used so, of the same range and in its order.
  row like(std::size_t index, std::size_t most) const;
  bool all(row where, place::use used_for) const;

  // Memory of the kind; false if no huge pages are left, throws std::system_error. Places are
  // marked by the caller, here and below.
  bool map(row where) const;
  // Nothing accessible, and no gap where others could map.
  void cover(row where) const;
  // Leaves a gap.
  void unmap(row where) const;
  // 0 or errno. Leaves a gap where it was, unless `keep`.
  int move(row from, std::size_t to, bool keep) const;
  // Closes a gap: nothing accessible. False if others have mapped there.
  bool reserve(row where) const;

 private:
  const test::memory_kind kind_;
  const std::size_t page_size_;
  std::vector<place> places_;
  std::uintptr_t reserved_ = 0;
  std::size_t reserved_size_ = 0;
  std::uintptr_t begin_ = 0;
};

}  // namespace uffd::chaos
