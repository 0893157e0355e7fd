// SPDX-License-Identifier: MIT
// What an example shows of itself while it runs.
#pragma once

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

namespace examples {

// Asks `text` ten times a second until its end, on a thread of its own, and shows what it says on
// one line; that on a terminal only.
class live_line {
 public:
  explicit live_line(std::function<std::string()> text)
      : thread_([this, text = std::move(text)](const std::stop_token& stop) { run(stop, text); }) {}

 private:
  void run(const std::stop_token& stop, const std::function<std::string()>& text) {
    const bool is_shown = ::isatty(STDERR_FILENO) != 0;
    std::unique_lock guard(lock_);
    while (!ended_.wait_for(guard, stop, std::chrono::milliseconds(100),
                            [&] { return stop.stop_requested(); })) {
      const auto now = text();
      if (is_shown) fmt::print(stderr, "\r{:<79}", now);
    }
    if (is_shown) fmt::print(stderr, "\r{:79}\r", "");
  }

  std::mutex lock_;
  std::condition_variable_any ended_;
  std::jthread thread_;
};

}  // namespace examples
