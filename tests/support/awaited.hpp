// SPDX-License-Identifier: MIT
// Conditions that another thread makes true, awaited with a time limit.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>

#include "support/patience.hpp"

namespace uffd::test {

// Something that happens once.
//   signal started;    callback: started.set();    test: ASSERT_TRUE(started.comes());
class signal {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    is_set_ = true;
    changed_.notify_all();
  }
  // True once it was set; waits for that.
  bool comes(std::chrono::milliseconds limit = patience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return is_set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;
};

// For conditions that nobody announces.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = patience) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

// Threads of this process with that name; all of them without one.
inline std::size_t running_threads(const std::string& name = {}) {
  std::size_t count = 0;
  std::error_code ended_meanwhile;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ended_meanwhile)) {
    std::string found;
    std::getline(std::ifstream(task.path() / "comm"), found);
    if (name.empty() || found == name) ++count;
  }
  return count;
}

}  // namespace uffd::test
