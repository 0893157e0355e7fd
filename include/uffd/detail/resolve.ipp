// SPDX-License-Identifier: MIT
// Bodies of resolve.hpp, which includes this.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "uffd/unique_fd.hpp"

namespace uffd {
namespace detail {

// Whether a page of this process is in memory, by /proc/self/pagemap; false where that can't tell.
// A marker on a missing page looks like a swapped page there, and neither is present.
inline bool page_is_present(std::uintptr_t address) noexcept {
  const unique_fd file(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  std::uint64_t entry = 0;
  const auto position = static_cast<off_t>(address / page_size() * sizeof entry);
  if (!file || ::pread(file.get(), &entry, sizeof entry, position) != sizeof entry) return false;
  return (entry >> 63) != 0;
}

// Takes a write-protect marker off a missing page. False if none can have been in the way.
inline bool take_marker_off(const handle& on, page_range page) noexcept {
  if (!on.foreign() && page_is_present(page.begin())) return false;
  return static_cast<bool>(on.write_unprotect(page, wake_mode::dont_wake));
}

inline resolution resolution_of(int number) noexcept {
  switch (number) {
    case 0:
      return resolution::resolved();
    case EAGAIN:
      return resolution::retry();
    case ENOENT:
    case ESRCH:
      return resolution::gone();
    default:
      return std::error_code(number, std::system_category());
  }
}

// What to do about a page whose ioctl answered EEXIST: 0 once it needs nothing more, or an errno.
template <class Occupied>
int settle_present(const handle& on, page_range page, Occupied& occupied) noexcept {
  const int number = occupied(page);
  if (number != 0 && number != EEXIST) return number;
  return on.wake(page).number;
}

// Goes through `range` with `attempt(range) -> outcome`. Rare answers are dealt with page by page:
// `occupied(page) -> errno` tries to get past a page that is there, EEXIST meaning that it truly
// is.
template <class Attempt, class Occupied>
resolution resolve_pages(const handle& on, page_range range, std::size_t page, Attempt&& attempt,
                         Occupied&& occupied) noexcept {
  outcome result = attempt(range);
  if (result) [[likely]]
    return resolution::resolved();
  std::uintptr_t position = range.begin();
  bool some = false;
  bool single = false;
  while (true) {
    position += result.bytes;
    some = some || result.bytes != 0;
    const page_range rest(position, range.end() - position);
    const page_range first(position, page);
    if (result.bytes == 0 || result) {
      if (result.number == ENOENT && !single && rest.size() > page) {
        single = true;  // a mapping ends somewhere inside: each page for itself from here on
      } else if (result.number == ENOENT) {
        static_cast<void>(on.wake(first));  // whoever waited there sees what is there now
        position += page;
      } else if (result.number == EEXIST) {
        const int number = settle_present(on, first, occupied);
        if (number != 0) return resolution_of(number);
        some = true;
        position += page;
      } else if (result.number != 0) {
        return resolution_of(result.number);
      }
    }
    if (position >= range.end()) return some ? resolution::resolved() : resolution::gone();
    result =
        attempt(single ? page_range(position, page) : page_range(position, range.end() - position));
  }
}

}  // namespace detail

namespace resolve {

inline resolution copy(const handle& on, std::uintptr_t to, std::span<const std::byte> from,
                       flags<fill_mode> mode, std::size_t page) noexcept {
  return detail::resolve_pages(
      on, page_range(to, from.size()), page,
      [&](page_range rest) {
        return on.copy(rest.begin(), from.subspan(rest.begin() - to, rest.size()), mode);
      },
      [](page_range) { return EEXIST; });
}

inline resolution zeropage(const handle& on, page_range range, std::size_t page) noexcept {
  alignas(64) static constexpr std::array<std::byte, 65536> zeroes{};
  return detail::resolve_pages(
      on, range, page, [&](page_range rest) { return on.zeropage(rest); },
      [&](page_range occupied) {
        // COPY gets past a marker, answers EEXIST for a page, and keeps the mark.
        if (occupied.size() > zeroes.size()) return EEXIST;
        const auto one = std::span(zeroes).first(occupied.size());
        const int number = on.copy(occupied.begin(), one, fill_mode::write_protect).number;
        return number == EINVAL ? EEXIST : number;
      });
}

inline resolution move(const handle& on, std::uintptr_t to, page_range from, flags<move_mode> mode,
                       std::size_t page) noexcept {
  const auto source = [&](page_range target) {
    return page_range(from.begin() + (target.begin() - to), target.size());
  };
  return detail::resolve_pages(
      on, page_range(to, from.size()), page,
      [&](page_range rest) { return on.move(rest.begin(), source(rest), mode); },
      [&](page_range occupied) {
        if (!detail::take_marker_off(on, occupied)) return EEXIST;
        return on.move(occupied.begin(), source(occupied), mode).number;
      });
}

inline resolution continue_(const handle& on, page_range range, flags<fill_mode> mode,
                            std::size_t page) noexcept {
  return detail::resolve_pages(
      on, range, page, [&](page_range rest) { return on.continue_(rest, mode); },
      [](page_range) { return EEXIST; });
}

inline resolution poison(const handle& on, page_range range, std::size_t page) noexcept {
  return detail::resolve_pages(
      on, range, page, [&](page_range rest) { return on.poison(rest); },
      [&](page_range occupied) {
        if (!detail::take_marker_off(on, occupied)) return EEXIST;
        return on.poison(occupied).number;
      });
}

inline resolution unprotect(const handle& on, page_range range) noexcept {
  const int number = on.write_unprotect(range).number;
  if (number == ENOENT) static_cast<void>(on.wake(range));
  return detail::resolution_of(number);
}

}  // namespace resolve
}  // namespace uffd
