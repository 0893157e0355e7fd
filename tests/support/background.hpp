// SPDX-License-Identifier: MIT
// Threads whose end can be awaited with a time limit: what may block in a test runs in one.
#pragma once

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "support/asleep.hpp"
#include "support/awaited.hpp"
#include "support/patience.hpp"

namespace uffd::test {

// Runs `body` in a thread. Its destructor waits for the thread, and ends the process if it hangs.
//   background unmapper([&] { munmap(...); });
//   EXPECT_TRUE(unmapper.blocks());  ...  EXPECT_TRUE(unmapper.finishes());
class background {
 public:
  explicit background(std::function<void()> body)
      : body_(std::move(body)), thread_([this] { run(); }) {}
  background(const background&) = delete;
  background& operator=(const background&) = delete;
  ~background() {
    if (!finishes()) {
      std::fputs("background: a thread of the test hangs\n", stderr);
      std::abort();
    }
    thread_.join();
  }

  // True once the body has returned; waits for that.
  bool finishes(std::chrono::milliseconds limit = patience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return finished_; });
  }
  // True if the body sleeps somewhere, and doesn't return by itself within a moment.
  bool blocks() { return blocks(sleeps); }
  // The same once `asleep(thread_id())`.
  template <class Asleep>
  bool blocks(Asleep asleep) {
    return comes_to(asleep) && !finishes(moment);
  }
  // True once the body waits for an event to be read.
  bool waits_for_reader() { return comes_to(test::waits_for_reader); }

  // The thread's id; waits until it has begun.
  pid_t thread_id() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return thread_id_ != 0; });
    return thread_id_;
  }

 private:
  // False if the body returns before.
  template <class Asleep>
  bool comes_to(Asleep asleep) {
    const auto id = thread_id();
    bool is_asleep = false;
    static_cast<void>(eventually([&] {
      is_asleep = asleep(id);
      return is_asleep || finishes(std::chrono::milliseconds(0));
    }));
    return is_asleep;
  }

  void run() {
    set([this] { thread_id_ = ::gettid(); });
    body_();
    set([this] { finished_ = true; });
  }

  template <class Change>
  void set(Change change) {
    // Notified under the lock: whoever waits may end this object right after.
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }

  std::function<void()> body_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false;
  pid_t thread_id_ = 0;
  std::thread thread_;
};

}  // namespace uffd::test
