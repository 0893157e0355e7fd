// SPDX-License-Identifier: MIT
// Ends a hung test with a message. Every test program is linked with watched.cpp, which includes
// this: nobody else needs to.
#pragma once

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace uffd::test {

// After `limit` the process is ended, unless this object ended before. A thread rather than
// alarm(): the main thread may wait in the kernel where only SIGKILL reaches it.
class watchdog {
 public:
  watchdog(std::chrono::seconds limit, std::string what)
      : what_(std::move(what)), thread_([this, limit] { watch(limit); }) {
    // A thread that still starts holds locks of a sanitizer, which a fork() of the test would copy.
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return watches_; });
  }
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;
  ~watchdog() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  void watch(std::chrono::seconds limit) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    std::unique_lock lock(mutex_);
    watches_ = true;
    changed_.notify_all();
    if (changed_.wait_for(lock, limit, [this] { return over_; })) return;
    std::fprintf(stderr, "watchdog: %s still hangs after %lld s\n", what_.c_str(),
                 static_cast<long long>(limit.count()));
    std::abort();
  }

  std::string what_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool watches_ = false;
  bool over_ = false;
  std::thread thread_;
};

// A little before ctest would end it without a word.
inline constexpr std::chrono::seconds time_limit{UFFDPP_TEST_TIMEOUT - UFFDPP_TEST_TIMEOUT / 10};

class watched_tests : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& test) override {
    guard_.emplace(time_limit, std::string(test.test_suite_name()) + "." + test.name());
  }
  void OnTestEnd(const testing::TestInfo&) override { guard_.reset(); }

  std::optional<watchdog> guard_;
};
inline const bool tests_are_watched = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new watched_tests);
  return true;
}();

}  // namespace uffd::test
