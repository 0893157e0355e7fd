// SPDX-License-Identifier: MIT
// Threads that write to a table, and can be made to stand still.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "pair_table.hpp"

namespace examples {

// Whoever locks it waits until no writer is within, and keeps them out. A writer's way through
// touches nothing that another one's does, but for a flag that all read.
class write_gate {
 public:
  explicit write_gate(unsigned writers) : within_(writers) {}

  void lock();
  void unlock();
  // Open again when what is returned ends.
  [[nodiscard]] std::unique_lock<std::mutex> enter(unsigned writer);

 private:
  std::atomic<bool> closed_{false};
  std::vector<std::mutex> within_;
};

// Transfers between pairs chosen at random until its end, at which the gate must be open.
class table_writers {
 public:
  // `rate`: transfers a second of each; 0: as fast as it goes.
  table_writers(const pair_table& table, double rate);

  write_gate& gate() noexcept { return gate_; }
  std::uint64_t transfers() const noexcept;
  // What lasts longest of each transfer, as far as it lies after this.
  void begin_window() noexcept;
  std::chrono::nanoseconds longest_stall() const noexcept;

 private:
  using clock = std::chrono::steady_clock;

  struct alignas(64) progress {
    std::atomic<std::uint64_t> transfers{0};
    std::atomic<clock::duration::rep> longest{0};
  };

  void write(const std::stop_token& stop, unsigned writer);
  void note(progress& by, clock::time_point begin, clock::time_point end) const noexcept;

  pair_table table_;
  double rate_;
  write_gate gate_;
  std::atomic<clock::duration::rep> window_{0};
  std::vector<progress> progress_;
  std::vector<std::jthread> threads_;
};

}  // namespace examples
