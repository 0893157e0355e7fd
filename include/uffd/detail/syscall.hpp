// SPDX-License-Identifier: MIT
// System calls with EINTR and errno in one place: each answers 0 (or a count) or a negative errno.
#pragma once

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace uffd::detail {

inline int call_ioctl(int descriptor, unsigned long request, void* argument) noexcept {
  for (;;) {
    const int result = ::ioctl(descriptor, request, argument);
    if (result >= 0) [[likely]]
      return result;
    if (errno != EINTR) return -errno;
  }
}

inline ssize_t call_read(int descriptor, void* buffer, std::size_t size) noexcept {
  for (;;) {
    const ssize_t result = ::read(descriptor, buffer, size);
    if (result >= 0) [[likely]]
      return result;
    if (errno != EINTR) return -errno;
  }
}

// Answers 0 on a signal too: the caller looks again anyway. A null timeout waits without end.
inline int call_poll(pollfd* entries, nfds_t count, const timespec* timeout) noexcept {
  const int result = ::ppoll(entries, count, timeout, nullptr);
  if (result >= 0) [[likely]]
    return result;
  return errno == EINTR ? 0 : -errno;
}

// An eventfd's or timerfd's counter is all that is written or read by these two.
inline void signal_eventfd(int descriptor) noexcept {
  const std::uint64_t one = 1;
  while (::write(descriptor, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

inline void drain_counter(int descriptor) noexcept {
  std::uint64_t count = 0;
  call_read(descriptor, &count, sizeof count);
}

}  // namespace uffd::detail
