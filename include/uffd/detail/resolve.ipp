// SPDX-License-Identifier: MIT
// Bodies of resolve.hpp, which includes this.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "uffd/detail/syscall.hpp"

namespace uffd {
namespace detail {

// What /proc/self/pagemap says of a page; nothing where it can't be asked.
struct page_state {
  bool present;
  bool swapped;  // or a marker
  bool write_protected;
};
inline std::optional<page_state> state_of_page(const handle& on, std::uintptr_t address) noexcept {
  if (on.foreign()) return std::nullopt;
  std::uint64_t entry = 0;
  const auto position = static_cast<std::int64_t>(address / page_size() * sizeof entry);
  if (call_read_file("/proc/self/pagemap", position, &entry, sizeof entry) != sizeof entry)
    return std::nullopt;
  return page_state{(entry >> 63 & 1) != 0, (entry >> 62 & 1) != 0, (entry >> 57 & 1) != 0};
}

// Tries again what answered EEXIST, without the write-protect marker that may sit on a missing
// page. The marker looks like a swapped page; if it was one, it gets its mark back.
template <class Attempt>
int attempt_without_marker(const handle& on, page_range page, Attempt&& attempt) noexcept {
  const auto before = state_of_page(on, page.begin());
  if (before && before->present) return EEXIST;
  if (!on.write_unprotect(page, wake_mode::dont_wake)) return EEXIST;
  const int number = attempt(page).number;
  if (number != 0 && (!before || before->write_protected))
    static_cast<void>(on.write_protect(page));
  return number;
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

// Goes on where a first attempt on `range` ended with `result`, page by page where that is needed.
// `attempt(range) -> outcome` tries again; `occupied(page) -> errno` tries to get past a page that
// is there, EEXIST meaning that it truly is.
template <class Attempt, class Occupied>
resolution resolve_rest(const handle& on, page_range range, std::size_t page, outcome result,
                        Attempt&& attempt, Occupied&& occupied) noexcept {
  bool some = false;
  bool single = false;
  for (std::uintptr_t position = range.begin();;) {
    position += result.bytes;
    some = some || result.bytes != 0;
    const page_range first(position, page);
    if (result.bytes != 0 || (result.number == ENOENT && !single && range.size() > page)) {
      // Some was done, or a mapping ends somewhere inside: then each page for itself from here on.
      single = single || result.bytes == 0;
    } else if (result.number == ENOENT) {
      static_cast<void>(on.wake(first));  // whoever waited there sees what is there now
      position += page;
    } else if (result.number == EEXIST) {
      const int number = settle_present(on, first, occupied);
      if (number != 0) return resolution_of(number);
      some = true;
      position += page;
    } else {
      return resolution_of(result.number);
    }
    if (position >= range.end()) return some ? resolution::resolved() : resolution::gone();
    result =
        attempt(single ? page_range(position, page) : page_range(position, range.end() - position));
  }
}

// Each of these is apart from its first attempt, which nearly always is the only one: the fault
// path pays for nothing else.
[[gnu::cold, gnu::noinline]] inline resolution copy_rest(const handle& on, std::uintptr_t to,
                                                         std::span<const std::byte> from,
                                                         flags<fill_mode> mode, std::size_t page,
                                                         outcome first) noexcept {
  return resolve_rest(
      on, page_range(to, from.size()), page, first,
      [&](page_range rest) {
        return on.copy(rest.begin(), from.subspan(rest.begin() - to, rest.size()), mode);
      },
      [](page_range) { return EEXIST; });
}

[[gnu::cold, gnu::noinline]] inline resolution zeropage_rest(const handle& on, page_range range,
                                                             std::size_t page,
                                                             outcome first) noexcept {
  alignas(64) static constexpr std::array<std::byte, 65536> zeroes{};
  return resolve_rest(
      on, range, page, first, [&](page_range rest) { return on.zeropage(rest); },
      [&](page_range occupied) {
        // COPY gets past a marker, answers EEXIST for a page, and keeps the mark.
        if (occupied.size() > zeroes.size()) return EEXIST;
        const auto one = std::span(zeroes).first(occupied.size());
        const int number = on.copy(occupied.begin(), one, fill_mode::write_protect).number;
        return number == EINVAL ? EEXIST : number;
      });
}

// What MOVE answered for `target`, in the errnos of the other ioctls: its EINVAL and ENOENT stand
// for the border of a mapping, a target that isn't registered, and a source that can't be moved
// alike.
inline outcome clarified_move(const handle& on, page_range target, std::size_t page,
                              outcome result) noexcept {
  const bool unclear = result.number == EINVAL || result.number == ENOENT;
  if (result.bytes != 0 || !unclear || !target.is_aligned(page)) return result;
  if (target.size() > page) return {0, ENOENT};  // perhaps a border: each page for itself tells
  // CONTINUE does nothing to anonymous memory, but looks for the registration first.
  const int probed = on.continue_(target).number;
  if (probed == ENOENT || probed == ESRCH || probed == EAGAIN) return {0, probed};
  return {0, result.number == ENOENT ? EFAULT : result.number};
}

[[gnu::cold, gnu::noinline]] inline resolution move_rest(const handle& on, std::uintptr_t to,
                                                         page_range from, flags<move_mode> mode,
                                                         std::size_t page, outcome first) noexcept {
  const page_range all(to, from.size());
  const auto attempt = [&](page_range target) {
    const page_range source(from.begin() + (target.begin() - to), target.size());
    return clarified_move(on, target, page, on.move(target.begin(), source, mode));
  };
  return resolve_rest(
      on, all, page, clarified_move(on, all, page, first), attempt,
      [&](page_range occupied) { return attempt_without_marker(on, occupied, attempt); });
}

[[gnu::cold, gnu::noinline]] inline resolution continue_rest(const handle& on, page_range range,
                                                             flags<fill_mode> mode,
                                                             std::size_t page,
                                                             outcome first) noexcept {
  return resolve_rest(
      on, range, page, first, [&](page_range rest) { return on.continue_(rest, mode); },
      [](page_range) { return EEXIST; });
}

[[gnu::cold, gnu::noinline]] inline resolution poison_rest(const handle& on, page_range range,
                                                           std::size_t page,
                                                           outcome first) noexcept {
  const auto attempt = [&](page_range target) { return on.poison(target); };
  return resolve_rest(on, range, page, first, attempt, [&](page_range occupied) {
    return attempt_without_marker(on, occupied, attempt);
  });
}

}  // namespace detail

namespace resolve {

inline resolution copy(const handle& on, std::uintptr_t to, std::span<const std::byte> from,
                       flags<fill_mode> mode, std::size_t page) noexcept {
  const outcome first = on.copy(to, from, mode);
  if (first) [[likely]]
    return resolution::resolved();
  return detail::copy_rest(on, to, from, mode, page, first);
}

inline resolution zeropage(const handle& on, page_range range, std::size_t page) noexcept {
  const outcome first = on.zeropage(range);
  if (first) [[likely]]
    return resolution::resolved();
  return detail::zeropage_rest(on, range, page, first);
}

inline resolution move(const handle& on, std::uintptr_t to, page_range from, flags<move_mode> mode,
                       std::size_t page) noexcept {
  const outcome first = on.move(to, from, mode);
  if (first) [[likely]]
    return resolution::resolved();
  return detail::move_rest(on, to, from, mode, page, first);
}

inline resolution continue_(const handle& on, page_range range, flags<fill_mode> mode,
                            std::size_t page) noexcept {
  const outcome first = on.continue_(range, mode);
  if (first) [[likely]]
    return resolution::resolved();
  return detail::continue_rest(on, range, mode, page, first);
}

inline resolution poison(const handle& on, page_range range, std::size_t page) noexcept {
  const outcome first = on.poison(range);
  if (first) [[likely]]
    return resolution::resolved();
  return detail::poison_rest(on, range, page, first);
}

inline resolution unprotect(const handle& on, page_range range) noexcept {
  const int number = on.write_unprotect(range).number;
  if (number == ENOENT) static_cast<void>(on.wake(range));
  return detail::resolution_of(number);
}

inline resolution read_write_unprotect(const handle& on, page_range range) noexcept {
  const int number = on.read_write_unprotect(range).number;
  if (number == ENOENT) static_cast<void>(on.wake(range));
  return detail::resolution_of(number);
}

}  // namespace resolve
}  // namespace uffd
