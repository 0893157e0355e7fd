// SPDX-License-Identifier: MIT
// System calls with EINTR and errno in one place: each answers 0 (or a count) or a negative errno.
// Those of the fault path go by syscall(): the C library's own functions cost up to three times the
// instructions, for cancellation and variable arguments that nobody uses here.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace uffd::detail {

// After a failed attempt: tries again as long as signals interrupt it. Apart, so that what nearly
// always happens stays short.
[[gnu::cold, gnu::noinline]] inline int ioctl_after_failure(int descriptor, unsigned long request,
                                                            void* argument) noexcept {
  while (errno == EINTR) {
    const long result = ::syscall(SYS_ioctl, descriptor, request, argument);
    if (result >= 0) return static_cast<int>(result);
  }
  return -errno;
}

inline int call_ioctl(int descriptor, unsigned long request, void* argument) noexcept {
  const long result = ::syscall(SYS_ioctl, descriptor, request, argument);
  if (result >= 0) [[likely]]
    return static_cast<int>(result);
  return ioctl_after_failure(descriptor, request, argument);
}

inline ssize_t call_read(int descriptor, void* buffer, std::size_t size) noexcept {
  for (;;) {
    const long result = ::syscall(SYS_read, descriptor, buffer, size);
    if (result >= 0) [[likely]]
      return result;
    if (errno != EINTR) return -errno;
  }
}

// Waits without end, but answers 0 on a signal: the caller looks again anyway.
inline int call_poll(pollfd* entries, nfds_t count) noexcept {
  const long result = ::syscall(SYS_ppoll, entries, count, nullptr, nullptr, 0);
  if (result >= 0) [[likely]]
    return static_cast<int>(result);
  return errno == EINTR ? 0 : -errno;
}

// The same for so long. A null timeout waits without end.
inline int call_poll(pollfd* entries, nfds_t count, const timespec* timeout) noexcept {
  const int result = ::ppoll(entries, count, timeout, nullptr);
  if (result >= 0) [[likely]]
    return result;
  return errno == EINTR ? 0 : -errno;
}

// Sleeps so long, or until a signal. No cancellation point as nanosleep() is: ends of ranges and
// signal handlers wait by it.
inline void call_sleep(std::int64_t nanoseconds) noexcept {
  const struct {
    long seconds;
    long nanoseconds;
  } pause{static_cast<long>(nanoseconds / 1'000'000'000),
          static_cast<long>(nanoseconds % 1'000'000'000)};
  ::syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, nullptr);
}

// A file that is open while this lives. Neither beginning nor end is a cancellation point, as
// open() and close() are: signal handlers and ends of ranges look at pages by it.
class file_to_read {
 public:
  explicit file_to_read(const char* path) noexcept
      : number_(::syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC)),
        error_(number_ < 0 ? errno : 0) {}
  file_to_read(const file_to_read&) = delete;
  file_to_read& operator=(const file_to_read&) = delete;
  ~file_to_read() {
    if (number_ >= 0) ::syscall(SYS_close, number_);
  }

  int get() const noexcept { return static_cast<int>(number_); }
  // Why it isn't open; 0 if it is.
  int error() const noexcept { return error_; }

 private:
  const long number_;
  const int error_;
};

// Reads `size` bytes at `position` of a file.
inline ssize_t call_read_file(const char* path, std::int64_t position, void* buffer,
                              std::size_t size) noexcept {
  const file_to_read file(path);
  if (file.error() != 0) return -file.error();
  const long result = ::syscall(SYS_pread64, file.get(), buffer, size, position);
  return result < 0 ? -errno : result;
}

// An eventfd's or timerfd's counter is all that is written or read by these two. No cancellation
// points: ends of ranges nudge workers.
inline void signal_eventfd(int descriptor) noexcept {
  const std::uint64_t one = 1;
  while (::syscall(SYS_write, descriptor, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

inline void drain_counter(int descriptor) noexcept {
  std::uint64_t count = 0;
  call_read(descriptor, &count, sizeof count);
}

}  // namespace uffd::detail
