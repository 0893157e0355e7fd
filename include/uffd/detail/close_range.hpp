// SPDX-License-Identifier: MIT
// Ends a registration so that nothing turns to zeroes unasked and nobody stays asleep.
#pragma once

#include <sys/mman.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "uffd/detail/pagemap.hpp"
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

// An unread event makes every ioctl answer EAGAIN; whoever reads it gets this long, 100 ms in all.
class patience {
 public:
  bool wait() noexcept {
    const timespec pause{0, 50'000};
    ::nanosleep(&pause, nullptr);
    return --left_ > 0;
  }

 private:
  int left_ = 2000;
};

// Poisons what is missing in `range`. Pages that are there, and stretches no longer registered, are
// left alone. Answers 0, ESRCH when the process is gone, or the errno that stopped it.
inline int poison_missing(const handle& on, page_range range, std::size_t page) noexcept {
  patience patience;
  bool single = false;
  for (auto position = range.begin(); position < range.end();) {
    const auto size = single ? page : range.end() - position;
    const auto result = on.poison({position, size}, wake_mode::dont_wake);
    if (result || result.bytes != 0) {
      position += result.bytes;
    } else if (result.number == EAGAIN) {
      if (!patience.wait()) return EAGAIN;
    } else if (result.number == ENOENT && !single) {
      single = true;  // what is registered ends somewhere inside: a page at a time finds out where
    } else if (result.number == EEXIST || result.number == ENOENT) {
      position += page;
    } else {
      return result.number;
    }
  }
  return 0;
}

// False if it can't be done. Memory that isn't mapped any more needs no protection.
inline bool protect_from_access(const handle& on, page_range range) noexcept {
  if (on.foreign()) return false;
  void* const memory = reinterpret_cast<void*>(range.begin());
  return ::mprotect(memory, range.size(), PROT_NONE) == 0 || errno == ENOMEM;
}

// Makes every page that is missing in a registered range inaccessible; those that are there stay as
// they are wherever the kernel can tell.
inline void make_missing_inaccessible(const handle& on, const region_info& info) noexcept {
  if (info.modes.has(register_mode::write_protect))
    // A marker would hide a missing page from the scan and from POISON.
    static_cast<void>(on.write_unprotect(info.range, wake_mode::dont_wake));
  int number = EOPNOTSUPP;
  if (info.ioctls.has(range_ioctl::poison)) {
    number = 0;
    const auto poison = [&](page_range hole) {
      if (number == 0) number = poison_missing(on, hole, info.page_size);
    };
    if (on.foreign() || for_each_hole(info.range, poison) != 0) poison(info.range);
  }
  if (number == 0 || number == ESRCH || protect_from_access(on, info.range)) return;
  end_process("missing pages can be neither poisoned nor protected");
}

// Ends the registration of `info.range` by `policy`. Tolerates memory that was unmapped and a
// process that is gone; does nothing in a forked child.
inline void close_range(const handle& on, const region_info& info, close_policy policy) noexcept {
  const auto& state = handle_access::state(on);
  if (!state || state->refusal() != 0) return;
  const bool can_miss = info.modes.has_any(register_mode::missing | register_mode::minor);
  if (policy == close_policy::inaccessible && can_miss) make_missing_inaccessible(on, info);
  static_cast<void>(on.unregister(info.range));
}

}  // namespace uffd::detail
