// SPDX-License-Identifier: MIT
// A thread that blocks signals, and whose object may end in a forked child, where it doesn't exist.
#pragma once

#include <pthread.h>

#include <functional>
#include <optional>
#include <string>

namespace uffd::detail {

class thread {
 public:
  // Runs `body` at once, on `cpu` alone if there is one. All signals stay blocked but those that a
  // thread raises by its own fault. Throws std::system_error.
  thread(const char* name, std::optional<int> cpu, std::function<void()> body);
  thread(const thread&) = delete;
  thread& operator=(const thread&) = delete;

  void join() noexcept;
  bool is_current() const noexcept;

 private:
  static void* start(void* self) noexcept;

  std::function<void()> body_;
  pthread_t thread_{};
  bool joined_ = false;
};

}  // namespace uffd::detail
