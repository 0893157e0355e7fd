// SPDX-License-Identifier: MIT
// What is known of each page that is tracked synchronously: a byte.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "uffd/mapping.hpp"

namespace uffd::detail {

enum class write_phase : std::uint8_t {
  clean,    // a write faults; nothing is to be told
  held,     // one thread is about it, all others come again; nothing is to be told by others
  opening,  // the same, but it is to be told: writes may go through already
  written,  // to be told; the next write may fault nevertheless
  shown,    // as held, by a callback; if it is missing another may fill it
  filling,  // as shown, and another fills it
};

// `there`, which is kept of anonymous memory alone: the page was there when it was last known of.
// If it isn't any more, it was dropped.
struct write_state {
  write_phase phase = write_phase::clean;
  bool there = false;
  friend bool operator==(write_state, write_state) = default;
};

// A write goes through unseen only where its page is held by who collects, opening or written: it
// is told by the one who collects, or by the next. Handlers take a page from clean over held and
// opening, or from written over opening, to written, and show it between held and opening; who
// collects takes it from written over held, while it protects the page, to clean. The memory is the
// states' own, for what is allocated may be tracked; of pages that nobody touched it takes none.
class write_states {
 public:
  // Throws std::system_error. All are clean and not there.
  explicit write_states(std::size_t pages)
      : memory_(mapping::anonymous(pages)),
        states_(reinterpret_cast<std::atomic<std::uint8_t>*>(memory_.bytes().data())) {}

  write_state operator[](std::size_t page) const noexcept { return decode(states_[page].load()); }

  // By a handler. What it was, clean or written; nothing if another thread is about it.
  std::optional<write_state> try_hold(std::size_t page) noexcept {
    auto seen = states_[page].load();
    for (;;) {
      const auto before = decode(seen);
      if (before.phase != write_phase::clean && before.phase != write_phase::written)
        return std::nullopt;
      const bool is_told = before.phase == write_phase::written;
      if (exchange(page, seen, {is_told ? write_phase::opening : write_phase::held, before.there}))
        return before;
    }
  }
  // By who collects: holds what is written.
  bool try_claim(std::size_t page) noexcept {
    auto seen = states_[page].load();
    return decode(seen).phase == write_phase::written &&
           exchange(page, seen, {write_phase::held, decode(seen).there});
  }
  // By who does not hold it, and sets it to shown afterwards.
  bool try_fill(std::size_t page) noexcept {
    auto seen = states_[page].load();
    return decode(seen).phase == write_phase::shown &&
           exchange(page, seen, {write_phase::filling, decode(seen).there});
  }
  // By who shows it. False while another fills it.
  bool try_end_showing(std::size_t page) noexcept {
    auto seen = states_[page].load();
    return decode(seen).phase == write_phase::shown &&
           exchange(page, seen, {write_phase::held, decode(seen).there});
  }
  // By who holds it.
  void set(std::size_t page, write_state state) noexcept { states_[page].store(encode(state)); }

  // By anybody, at any time.
  void mark_there(std::size_t page) noexcept { states_[page].fetch_or(there_bit); }
  // A clean page of which the caller knows that it is not there any more. False if it is another's
  // by now, and will be told by that.
  bool forget(std::size_t page) noexcept {
    auto seen = encode({write_phase::clean, true});
    return exchange(page, seen, {});
  }
  // Was clean a moment ago and is to be told later.
  void put_back(std::size_t page) noexcept {
    auto seen = states_[page].load();
    while (decode(seen).phase == write_phase::clean &&
           !exchange(page, seen, {write_phase::written, decode(seen).there})) {
    }
  }

 private:
  static constexpr std::uint8_t there_bit = 8;
  static constexpr std::uint8_t encode(write_state state) noexcept {
    return static_cast<std::uint8_t>(static_cast<unsigned>(state.phase) |
                                     (state.there ? there_bit : 0U));
  }
  static constexpr write_state decode(std::uint8_t byte) noexcept {
    return {static_cast<write_phase>(byte & (there_bit - 1)), (byte & there_bit) != 0};
  }
  bool exchange(std::size_t page, std::uint8_t& seen, write_state state) noexcept {
    return states_[page].compare_exchange_strong(seen, encode(state));
  }

  mapping memory_;
  std::atomic<std::uint8_t>* states_;
};

}  // namespace uffd::detail
