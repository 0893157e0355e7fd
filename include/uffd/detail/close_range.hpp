// SPDX-License-Identifier: MIT
// Ends a registration so that nothing turns to zeroes unasked and nobody stays asleep.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "uffd/detail/pagemap.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"

namespace uffd::detail {

// The last resort where neither an error can be returned nor zeroes be shown.
[[noreturn]] inline void end_process(const char* reason) noexcept {
  std::fputs("uffd: ", stderr);
  std::fputs(reason, stderr);
  std::fputs("; ending the process rather than showing wrong memory\n", stderr);
  std::abort();
}

// An unread event makes every ioctl answer EAGAIN until it is read; forking a large process lasts
// too. Waits longer each time.
class patience {
 public:
  // Our own memory can be protected instead, another process's can't.
  explicit patience(const handle& on) noexcept : limit_(on.foreign() ? 60 : 5) {}
  patience() noexcept = default;

  // `let_go`: an event was read just now. Whoever caused it may cause the next one soon after it
  // runs again, so that only who looks all the time, and lets it run, finds the gap.
  bool wait(bool let_go = false) noexcept {
    const auto now = std::chrono::steady_clock::now();
    if (!end_) end_ = now + limit_;
    if (now > *end_) return false;
    if (let_go) {
      tries_at_once_ = most_tries_at_once;
      pause_ = shortest_pause;
    }
    if (tries_at_once_ > 0) {
      --tries_at_once_;
      return true;
    }
    call_sleep(pause_);
    if (pause_ < longest_pause) pause_ *= 2;
    return true;
  }

 private:
  static constexpr int most_tries_at_once = 100;
  static constexpr std::int64_t shortest_pause = 1'000;      // nanoseconds
  static constexpr std::int64_t longest_pause = 10'000'000;  // nanoseconds
  std::chrono::seconds limit_{5};
  std::optional<std::chrono::steady_clock::time_point> end_;
  int tries_at_once_ = 0;
  std::int64_t pause_ = shortest_pause;
};

// Whoever closes what somebody else reads events of.
struct others_read {
  bool operator()() const noexcept { return false; }
};

// Does `operation` to all of `range`: what is there already (EEXIST), what lies beyond the end of a
// file (EFAULT) and stretches that are no longer registered (ENOENT) are passed over. While an
// event is unread, `read_events() -> whether there were any` is called. Answers 0, ESRCH when the
// process is gone, or the errno that stopped it.
template <class Operation, class ReadEvents>
int do_everywhere(page_range range, std::size_t page, patience& left, ReadEvents& read_events,
                  Operation&& operation) noexcept {
  std::size_t stretch = range.size();
  for (auto position = range.begin(); position < range.end();) {
    const auto size = std::min<std::size_t>(stretch, range.end() - position);
    const outcome result = operation(page_range(position, size));
    if (result || result.bytes != 0) {
      position += result.bytes;
      stretch = std::min(2 * stretch, range.size());
    } else if (result.number == EAGAIN) {
      if (!left.wait(read_events())) return EAGAIN;
    } else if (result.number == ENOENT && size > page) {
      stretch = page;  // what is registered ends somewhere inside: single pages find out where
    } else if (result.number == EEXIST || result.number == ENOENT || result.number == EFAULT) {
      position += page;
    } else {
      return result.number;
    }
  }
  return 0;
}

// mprotect() answers ENOMEM for what isn't mapped and where a process has too many mappings.
inline bool is_mapped(std::uintptr_t page) noexcept {
  unsigned char ignored = 0;
  return ::mincore(reinterpret_cast<void*>(page), 1, &ignored) == 0 || errno != ENOMEM;
}

// False if it can't be done. Memory that isn't mapped any more needs no protection, but ends a
// mprotect() of what follows it.
inline bool protect_from_access(const handle& on, page_range range, std::size_t page) noexcept {
  if (on.foreign()) return false;
  const auto protect = [](page_range part) {
    return ::mprotect(reinterpret_cast<void*>(part.begin()), part.size(), PROT_NONE) == 0;
  };
  if (protect(range)) return true;
  if (errno != ENOMEM) return false;
  for (auto position = range.begin(); position < range.end(); position += page)
    if (!protect({position, page}) && (errno != ENOMEM || is_mapped(position))) return false;
  return true;
}

// Where a COPY must end that may install nothing: a page that nobody can read.
class unreadable_source {
 public:
  unreadable_source() noexcept
      : begin_(::mmap(nullptr, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  unreadable_source(const unreadable_source&) = delete;
  unreadable_source& operator=(const unreadable_source&) = delete;
  ~unreadable_source() {
    if (begin_ != MAP_FAILED) ::munmap(begin_, page_size());
  }

  // ENOENT where something of `part` isn't registered, EAGAIN while an event is unread; anything
  // else if all of it may be registered.
  outcome ask(const handle& on, page_range part) const noexcept {
    if (begin_ == MAP_FAILED) return {0, ENOMEM};
    return on.copy(part.begin(), {static_cast<const std::byte*>(begin_), part.size()});
  }

 private:
  void* const begin_;
};

// Takes all access away from what is registered of `range`: where it was unmapped, somebody else
// may have mapped memory since. Waits for unread events, as an ioctl that installs does: who caused
// one waits for its reader. Answers as do_everywhere() does; EPERM: another process can't be
// helped.
template <class ReadEvents>
int protect_registered(const handle& on, page_range range, std::size_t page, patience& left,
                       ReadEvents& read_events) noexcept {
  const unreadable_source source;
  return do_everywhere(range, page, left, read_events, [&](page_range part) -> outcome {
    const outcome asked = source.ask(on, part);
    if (asked.number == EAGAIN || asked.number == ENOENT || asked.number == ESRCH) return asked;
    if (on.foreign()) return {0, EPERM};
    if (::mprotect(reinterpret_cast<void*>(part.begin()), part.size(), PROT_NONE) != 0)
      return {0, errno};
    return {part.size(), 0};
  });
}

// Poisons what is missing in `range`, and where that can't be done takes all access to it away.
template <class ReadEvents>
void close_missing(const handle& on, page_range range, const region_info& info, patience& left,
                   ReadEvents& read_events) noexcept {
  int number = EINVAL;
  if (info.ioctls.has(range_ioctl::poison))
    number = do_everywhere(range, info.page_size, left, read_events,
                           [&](page_range part) { return on.poison(part, wake_mode::dont_wake); });
  if (number != 0 && number != ESRCH)
    number = protect_registered(on, range, info.page_size, left, read_events);
  if (number == 0 || number == ESRCH) return;
  if (protect_from_access(on, range, info.page_size)) return;
  // One mapping may be left where there is no room for two.
  if (protect_from_access(on, info.range, info.page_size)) return;
  end_process("missing pages can be neither poisoned nor protected");
}

// Makes every page that is missing in a registered range inaccessible; those that are there stay as
// they are wherever the kernel can tell.
template <class ReadEvents>
void make_missing_inaccessible(const handle& on, const region_info& info,
                               ReadEvents& read_events) noexcept {
  patience left(on);
  int unmarked = 0;
  if (info.modes.has(register_mode::write_protect))
    // A marker would hide a missing page from the scan and from POISON.
    unmarked = do_everywhere(info.range, info.page_size, left, read_events, [&](page_range part) {
      return on.write_unprotect(part, wake_mode::dont_wake);
    });
  const auto close = [&](page_range hole) { close_missing(on, hole, info, left, read_events); };
  const bool can_tell = unmarked == 0 && info.ioctls.has(range_ioctl::poison) && !on.foreign();
  if (!can_tell || for_each_hole(info.range, close) != 0) close(info.range);
}

// By halves where a whole is refused. False if nothing could be unregistered.
inline bool unregister_pieces(const handle& on, page_range range, std::size_t smallest) noexcept {
  if (on.unregister(range).number != EINVAL) return true;
  if (range.size() <= smallest) return false;
  const auto half = align_down(range.size() / 2 + smallest - 1, smallest);
  const bool first = unregister_pieces(on, {range.begin(), half}, smallest);
  return unregister_pieces(on, {range.begin() + half, range.size() - half}, smallest) || first;
}

// EINVAL: nothing is mapped there any more, which some thousand pieces tell; or something was
// mapped into the range that can't be registered, and the rest still is.
inline void unregister_all(const handle& on, page_range range, std::size_t page) noexcept {
  if (on.unregister(range).number != EINVAL) return;
  constexpr std::size_t pieces = 4000;
  const auto coarse = std::bit_ceil(std::max(range.size() / pieces, page));
  if (unregister_pieces(on, range, coarse)) unregister_pieces(on, range, page);
}

// Ends the registration of `info.range` by `policy`. Tolerates memory that was unmapped and a
// process that is gone; does nothing in a forked child. `read_events` as in do_everywhere().
template <class ReadEvents = others_read>
void close_range(const handle& on, const region_info& info, close_policy policy,
                 ReadEvents&& read_events = {}) noexcept {
  const auto& state = handle_access::state(on);
  if (!state || state->refusal() != 0) return;
  const bool can_miss = info.modes.has_any(register_mode::missing | register_mode::minor);
  if (policy == close_policy::inaccessible && can_miss)
    make_missing_inaccessible(on, info, read_events);
  unregister_all(on, info.range, info.page_size);
}

}  // namespace uffd::detail
