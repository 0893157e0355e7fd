// SPDX-License-Identifier: MIT
// The byte that says where a page is, and how often it was wanted.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace uffd::detail {

// Who changes a page claims it first: loading, opening, writing and leaving belong to one thread
// each, the others to nobody.
enum class paging_state : std::uint8_t {
  absent,
  loading,  // being read, and installed so that a write raises a fault
  opening,  // becoming writable: from here on it may be written at any time; or, of shared memory,
            // being mapped into another view
  clean,    // as in the source; write-protected where writes matter
  dirty,    // may be written at any time
  writing,  // protected again, being written to the source
  leaving,  // being dropped
  failed,   // never to be had again
};

// Heat: how much it was wanted lately. Pinned: it may not leave.
class page_word {
 public:
  constexpr page_word() noexcept = default;
  constexpr explicit page_word(std::uint8_t bits) noexcept : bits_(bits) {}

  constexpr std::uint8_t bits() const noexcept { return bits_; }
  constexpr paging_state state() const noexcept { return static_cast<paging_state>(bits_ & 7U); }
  constexpr bool is_pinned() const noexcept { return (bits_ & pinned) != 0; }
  constexpr unsigned heat() const noexcept { return bits_ >> 4U; }
  // Readable and, but for protection, writable.
  constexpr bool is_present() const noexcept {
    const auto now = state();
    return now == paging_state::clean || now == paging_state::dirty || now == paging_state::writing;
  }

  constexpr page_word with(paging_state state) const noexcept {
    return made((bits_ & ~7U) | static_cast<unsigned>(state));
  }
  constexpr page_word with_pin(bool is_set) const noexcept {
    return made((bits_ & ~pinned) | (is_set ? pinned : 0U));
  }
  constexpr page_word with_heat(unsigned heat) const noexcept {
    return made((bits_ & 0xfU) | std::min(heat, most_heat) << 4U);
  }
  static constexpr unsigned most_heat = 15;

 private:
  static constexpr unsigned pinned = 8;
  static constexpr page_word made(unsigned bits) noexcept {
    return page_word(static_cast<std::uint8_t>(bits));
  }

  std::uint8_t bits_ = 0;
};

// Shared by all threads.
class page_entry {
 public:
  page_word load() const noexcept { return page_word(bits_.load(std::memory_order_acquire)); }

  // True if it was `seen` still, which is what it is otherwise afterwards.
  bool change(page_word& seen, page_word wanted) noexcept {
    auto bits = seen.bits();
    const bool is_changed =
        bits_.compare_exchange_strong(bits, wanted.bits(), std::memory_order_acq_rel);
    if (!is_changed) seen = page_word(bits);
    return is_changed;
  }
  // From one state to another, whatever else changes meanwhile.
  bool change(paging_state from, paging_state to) noexcept {
    for (auto seen = load(); seen.state() == from;)
      if (change(seen, seen.with(to))) return true;
    return false;
  }
  // Whatever it is. `how` makes one word of another.
  template <class How>
  page_word update(How&& how) noexcept {
    auto seen = load();
    while (!change(seen, how(seen))) {
    }
    return how(seen);
  }

 private:
  std::atomic<std::uint8_t> bits_{0};
};

static_assert(sizeof(page_entry) == 1);

}  // namespace uffd::detail
