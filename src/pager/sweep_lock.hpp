// SPDX-License-Identifier: MIT
// A lock that a signal handler may try, with all signals blocked while it is held: what would wait
// for it in a signal handler can't have interrupted its holder.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>

namespace uffd::detail {

class sweep_lock {
 public:
  // Satisfies Lockable.
  void lock() noexcept {
    sigset_t before = blocked();
    while (is_locked_.exchange(true, std::memory_order_acquire))
      is_locked_.wait(true, std::memory_order_relaxed);
    before_ = before;
  }
  bool try_lock() noexcept {
    if (is_locked_.load(std::memory_order_relaxed)) return false;
    const sigset_t before = blocked();
    if (is_locked_.exchange(true, std::memory_order_acquire)) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      return false;
    }
    before_ = before;
    return true;
  }
  void unlock() noexcept {
    const sigset_t before = before_;
    is_locked_.store(false, std::memory_order_release);
    is_locked_.notify_one();
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

 private:
  static sigset_t blocked() noexcept {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    return before;
  }

  std::atomic<bool> is_locked_{false};
  sigset_t before_{};
};

}  // namespace uffd::detail
