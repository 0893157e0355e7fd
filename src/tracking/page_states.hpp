// SPDX-License-Identifier: MIT
// What a snapshotter knows of each page of an area: a byte for each, changed by compare-and-swap.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace uffd::detail {

// Bits of a page's byte. Pending and claimed are stages, of which a page has one or none, or both
// for the moment until it is protected.
namespace page_bit {
inline constexpr std::uint8_t pending = 1;   // to be saved as of the moment, and nobody is at it
inline constexpr std::uint8_t claimed = 2;   // one thread is at it, for a moment
inline constexpr std::uint8_t dirty = 4;     // not protected: no write to it is heard of
inline constexpr std::uint8_t owed = 8;      // part of a snapshot that is not complete
inline constexpr std::uint8_t stored = 16;   // the last complete snapshot may have bytes for it
inline constexpr std::uint8_t zeroed = 32;   // zero in the snapshot under way
inline constexpr std::uint8_t removed = 64;  // dropped since the last moment
inline constexpr std::uint8_t absent = 128;  // was not there at the moment, but in the base: zero
// Of what a pager serves the same bit: was as in the source at the moment, and may be written
// since.
inline constexpr std::uint8_t in_source = absent;
}  // namespace page_bit

class page_states {
 public:
  // All are dirty.
  explicit page_states(std::size_t pages) : pages_(pages), words_((pages + 7) / 8) {
    for (auto& word : words_) word.store(everywhere(page_bit::dirty), std::memory_order_relaxed);
  }

  std::size_t pages() const noexcept { return pages_; }
  std::uint8_t at(std::size_t page) const noexcept {
    return static_cast<std::uint8_t>(words_[page / 8].load(std::memory_order_acquire) >>
                                     shift(page));
  }
  // Each answers what it was before.
  std::uint8_t set(std::size_t page, std::uint8_t bits) noexcept {
    return static_cast<std::uint8_t>(
        words_[page / 8].fetch_or(mask(page, bits), std::memory_order_acq_rel) >> shift(page));
  }
  std::uint8_t clear(std::size_t page, std::uint8_t bits) noexcept {
    return static_cast<std::uint8_t>(
        words_[page / 8].fetch_and(~mask(page, bits), std::memory_order_acq_rel) >> shift(page));
  }

  // To save what is pending. Whoever has a claim gives it back soon, whatever becomes of it.
  bool claim(std::size_t page) noexcept {
    return change(page, [](std::uint8_t& bits) {
      if ((bits & (page_bit::pending | page_bit::claimed)) != page_bit::pending) return false;
      bits = static_cast<std::uint8_t>((bits & ~page_bit::pending) | page_bit::claimed);
      return true;
    });
  }
  // To unprotect what is neither pending nor claimed.
  bool claim_to_write(std::size_t page) noexcept {
    return change(page, [](std::uint8_t& bits) {
      if ((bits & (page_bit::pending | page_bit::claimed)) != 0) return false;
      bits |= page_bit::claimed | page_bit::dirty;
      return true;
    });
  }
  // The same for what is pending, and for which the source of a pager is as good.
  bool claim_to_write_over_source(std::size_t page) noexcept {
    return change(page, [](std::uint8_t& bits) {
      if ((bits & (page_bit::pending | page_bit::claimed)) != page_bit::pending) return false;
      bits = static_cast<std::uint8_t>((bits & ~page_bit::pending) | page_bit::claimed |
                                       page_bit::dirty | page_bit::in_source);
      return true;
    });
  }
  // The same also for what is pending and is not saved before it.
  bool claim_to_write_unsaved(std::size_t page) noexcept {
    return change(page, [](std::uint8_t& bits) {
      if ((bits & page_bit::claimed) != 0) return false;
      bits = static_cast<std::uint8_t>((bits & ~page_bit::pending) | page_bit::claimed |
                                       page_bit::dirty);
      return true;
    });
  }
  void release(std::size_t page) noexcept { clear(page, page_bit::claimed); }
  // What was claimed to be saved is pending again.
  void unclaim(std::size_t page) noexcept {
    change(page, [](std::uint8_t& bits) {
      bits = static_cast<std::uint8_t>((bits & ~page_bit::claimed) | page_bit::pending);
      return true;
    });
  }

  // Makes what is protected pending. False if it is not protected, or somebody is at it.
  bool demand(std::size_t page) noexcept {
    return change(page, [](std::uint8_t& bits) {
      if (is_to_be_protected(bits)) return true;
      if ((bits & (page_bit::claimed | page_bit::dirty)) != 0) return false;
      bits = static_cast<std::uint8_t>((bits & ~outdated) | page_bit::pending | page_bit::owed);
      return true;
    });
  }
  // The same with what is to be protected next, once nobody is at it any more: it is claimed, too,
  // until has_protected(), for a fault from before that may be served as late as this. False if it
  // was demanded so already, or has one of the bits `unless`.
  bool demand_unprotected(std::size_t page, std::uint8_t unless = 0) noexcept {
    for (bool is_mine = false;; std::this_thread::yield()) {
      const bool is_settled = change(page, [&](std::uint8_t& bits) {
        is_mine = !is_to_be_protected(bits) && (bits & unless) == 0;
        if (!is_mine) return true;
        if ((bits & page_bit::claimed) != 0) return false;
        bits = static_cast<std::uint8_t>((bits & ~outdated) | page_bit::pending |
                                         page_bit::claimed | page_bit::owed);
        return true;
      });
      if (is_settled) return is_mine;
    }
  }
  void has_protected(std::size_t first, std::size_t end) noexcept {
    for_each_with(page_bit::claimed, first, end, [&](std::size_t page) {
      change(page, [](std::uint8_t& bits) {
        if (!is_to_be_protected(bits)) return false;
        bits = static_cast<std::uint8_t>(bits & ~page_bit::claimed);
        return true;
      });
    });
  }
  // Nothing is there: it is not pending, and protected by nothing. Nor is it owed, unless the last
  // complete snapshot has something there.
  void pass_over(std::size_t page) noexcept {
    while (!change(page, [](std::uint8_t& bits) {
      if ((bits & page_bit::claimed) != 0) return false;
      const auto gone =
          (bits & page_bit::stored) != 0 ? page_bit::pending : page_bit::pending | page_bit::owed;
      bits = static_cast<std::uint8_t>((bits & ~gone) | page_bit::dirty);
      return true;
    }))
      std::this_thread::yield();
  }
  // It will not be saved any more. What was to be protected is not.
  void forget(std::size_t page) noexcept {
    change(page, [](std::uint8_t& bits) {
      if (is_to_be_protected(bits))
        bits = static_cast<std::uint8_t>((bits & ~page_bit::claimed) | page_bit::dirty);
      bits = static_cast<std::uint8_t>(bits & ~(page_bit::pending | page_bit::absent));
      return true;
    });
  }

  // The first page of [from, to) that has one of these bits; `to` if none has.
  std::size_t next_with(std::uint8_t bits, std::size_t from, std::size_t to) const noexcept {
    return next(everywhere(bits), 0, from, to);
  }
  // The first that lacks the bit.
  std::size_t next_without(std::uint8_t bit, std::size_t from, std::size_t to) const noexcept {
    return next(everywhere(bit), everywhere(bit), from, to);
  }
  // Calls each(page) for those of [from, to) that have one of these bits.
  template <class Each>
  void for_each_with(std::uint8_t bits, std::size_t from, std::size_t to, Each&& each) const {
    for (auto page = next_with(bits, from, to); page < to; page = next_with(bits, page + 1, to))
      each(page);
  }

 private:
  static constexpr std::uint8_t outdated = page_bit::dirty | page_bit::removed | page_bit::zeroed;

  static constexpr bool is_to_be_protected(std::uint8_t bits) noexcept {
    constexpr std::uint8_t both = page_bit::pending | page_bit::claimed;
    return (bits & both) == both;
  }
  std::size_t next(std::uint64_t bits, std::uint64_t inverted, std::size_t from,
                   std::size_t to) const noexcept {
    while (from < to) {
      const auto word = words_[from / 8].load(std::memory_order_acquire) ^ inverted;
      const auto rest = (word & bits) >> shift(from);
      if (rest != 0) {
        const auto found = from + static_cast<std::size_t>(std::countr_zero(rest)) / 8;
        return found < to ? found : to;
      }
      from = (from / 8 + 1) * 8;
    }
    return to;
  }
  static unsigned shift(std::size_t page) noexcept { return static_cast<unsigned>(page % 8) * 8; }
  static std::uint64_t everywhere(std::uint8_t bits) noexcept {
    return bits * std::uint64_t{0x0101010101010101};
  }
  static std::uint64_t mask(std::size_t page, std::uint8_t bits) noexcept {
    return std::uint64_t{bits} << shift(page);
  }

  template <class Change>
  bool change(std::size_t page, Change&& change) noexcept {
    auto& word = words_[page / 8];
    auto seen = word.load(std::memory_order_acquire);
    for (;;) {
      auto bits = static_cast<std::uint8_t>(seen >> shift(page));
      if (!change(bits)) return false;
      const auto next = (seen & ~mask(page, 0xFF)) | mask(page, bits);
      if (word.compare_exchange_weak(seen, next, std::memory_order_acq_rel)) return true;
    }
  }

  std::size_t pages_;
  std::vector<std::atomic<std::uint64_t>> words_;
};

}  // namespace uffd::detail
