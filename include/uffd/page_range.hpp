// SPDX-License-Identifier: MIT
/// \file
/// Ranges of addresses, perhaps of another process, and the arithmetic of pages.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "uffd/flags.hpp"

namespace uffd {

/// Bytes in one page of the kernel, asked once. Huge pages have a size of their own.
inline std::size_t page_size() noexcept {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

/// A range of addresses: `size()` bytes from `begin()`. They may belong to another process, so it
/// is never turned back into a pointer; it converts from a span. Alignment isn't checked here but
/// by whoever uses the range.
class page_range {
 public:
  /// The empty range at 0.
  constexpr page_range() noexcept = default;
  /// `size` bytes from `begin`.
  constexpr page_range(std::uintptr_t begin, std::size_t size) noexcept
      : begin_(begin), size_(size) {}
  /// The bytes of a span.
  template <class T, std::size_t N>
  page_range(std::span<T, N> memory) noexcept
      : begin_(reinterpret_cast<std::uintptr_t>(memory.data())), size_(memory.size_bytes()) {}

  /// The first address.
  constexpr std::uintptr_t begin() const noexcept { return begin_; }
  /// One past the last address.
  constexpr std::uintptr_t end() const noexcept { return begin_ + size_; }
  /// Bytes.
  constexpr std::size_t size() const noexcept { return size_; }
  /// True if it holds no byte.
  constexpr bool empty() const noexcept { return size_ == 0; }

  /// True if the address lies in the range.
  constexpr bool contains(std::uintptr_t address) const noexcept {
    return address - begin_ < size_;
  }
  /// True if all of `other` lies in the range.
  constexpr bool contains(page_range other) const noexcept {
    const auto offset = other.begin_ - begin_;
    return offset <= size_ && other.size_ <= size_ - offset;
  }
  /// True if a byte lies in both.
  constexpr bool overlaps(page_range other) const noexcept { return !intersection(other).empty(); }
  /// What lies in both; empty if nothing does.
  constexpr page_range intersection(page_range other) const noexcept {
    const auto from = std::max(begin_, other.begin_);
    const auto to = std::min(end(), other.end());
    return from < to ? page_range(from, to - from) : page_range(from, 0);
  }
  /// True if begin and size are multiples of `page` bytes.
  constexpr bool is_aligned(std::size_t page) const noexcept {
    return ((begin_ | size_) & (page - 1)) == 0;
  }
  /// True if the end is past the last address there is.
  constexpr bool wraps() const noexcept { return begin_ + size_ < begin_; }

  /// Same addresses.
  friend constexpr bool operator==(page_range, page_range) noexcept = default;

 private:
  std::uintptr_t begin_ = 0;
  std::size_t size_ = 0;
};

/// The range in words: `[0x7f0000000000, 0x7f0000002000)`.
inline std::string to_string(page_range range) {
  // Appended, for g++ 12 warns of `"[" + std::string` when it optimises (its bug 105651).
  std::string text = "[";
  text += detail::hexadecimal(range.begin());
  text += ", ";
  text += detail::hexadecimal(range.end());
  text += ")";
  return text;
}

namespace detail {
// The range from `start` to `end`, empty if they are the wrong way round.
constexpr page_range range_between(std::uint64_t start, std::uint64_t end) noexcept {
  return {static_cast<std::uintptr_t>(start),
          end > start ? static_cast<std::size_t>(end - start) : 0};
}
}  // namespace detail

/// `value` rounded down to a multiple of `unit` bytes, a power of two.
constexpr std::uintptr_t align_down(std::uintptr_t value, std::size_t unit) noexcept {
  return value & ~(static_cast<std::uintptr_t>(unit) - 1);
}

/// `value` rounded up to a multiple of `unit` bytes, a power of two.
constexpr std::uintptr_t align_up(std::uintptr_t value, std::size_t unit) noexcept {
  return align_down(value + unit - 1, unit);
}

/// Reads one byte of each page of this process's memory, so that each is served; the compiler can't
/// drop it. Waits like any access to registered memory, and takes SIGSEGV or SIGBUS like one.
inline void touch(page_range range) noexcept {
  for (auto address = range.begin(); address < range.end();
       address = align_down(address, page_size()) + page_size())
    // The range is of this process by contract: the one place where an address becomes a pointer.
    static_cast<void>(*reinterpret_cast<const volatile std::byte*>(address));
}

}  // namespace uffd
