// SPDX-License-Identifier: MIT
// Threads that do one piece of work together with the thread that asks for it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "detail/thread.hpp"
#include "uffd/detail/process.hpp"

namespace uffd::detail {

class work_crew {
 public:
  // `threads` in all: one fewer is started. Throws std::system_error.
  explicit work_crew(unsigned threads);
  work_crew(const work_crew&) = delete;
  work_crew& operator=(const work_crew&) = delete;
  ~work_crew();

  // Runs `work` in each thread, and returns once all have returned. One at a time.
  void run(const std::function<void()>& work) noexcept;

 private:
  void stand_by() noexcept;

  process_mark home_ = process_mark::here();
  std::atomic<std::uint32_t> round_{0};
  std::atomic<std::uint32_t> busy_{0};
  const std::function<void()>* work_ = nullptr;  // null: the end
  std::vector<std::unique_ptr<thread>> threads_;
};

}  // namespace uffd::detail
