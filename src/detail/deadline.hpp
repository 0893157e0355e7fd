// SPDX-License-Identifier: MIT
// A moment until when somebody waits, and waiting for descriptors until then.
#pragma once

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <span>

#include "uffd/detail/syscall.hpp"

namespace uffd::detail {

class deadline {
 public:
  using clock = std::chrono::steady_clock;

  // However long that is; now if it is negative.
  static deadline after(std::chrono::milliseconds limit) noexcept {
    const auto now = clock::now();
    const auto most = std::chrono::floor<std::chrono::milliseconds>(clock::time_point::max() - now);
    return deadline(now + std::clamp(limit, std::chrono::milliseconds::zero(), most));
  }
  static deadline never() noexcept { return deadline(clock::time_point::max()); }

  // 0 when it is over.
  clock::duration left() const noexcept {
    return std::max(moment_ - clock::now(), clock::duration::zero());
  }

  // 0 once one of them is ready, ETIMEDOUT when it is too late, or the errno of poll().
  int wait(std::span<pollfd> entries) const noexcept {
    for (;;) {
      const auto rest = left();
      const auto seconds = std::chrono::floor<std::chrono::seconds>(rest);
      const timespec timeout{seconds.count(), std::chrono::nanoseconds(rest - seconds).count()};
      const int result = call_poll(entries.data(), entries.size(), &timeout);
      if (result != 0) return result > 0 ? 0 : -result;
      if (rest == clock::duration::zero()) return ETIMEDOUT;
    }
  }

 private:
  explicit deadline(clock::time_point moment) noexcept : moment_(moment) {}

  clock::time_point moment_;
};

}  // namespace uffd::detail
