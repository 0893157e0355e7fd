// SPDX-License-Identifier: MIT
// Threads that touch memory and take the time of each access.
#pragma once

#include <atomic>
#include <barrier>
#include <cstddef>
#include <thread>
#include <vector>

#include "support/faulting_memory.hpp"
#include "support/samples.hpp"

namespace uffd::bench {

// One pass over all blocks.
struct round_result {
  std::vector<nanoseconds> latencies;  // of each access, all threads
  nanoseconds wall = 0;                // from the first access to the end of the last
  // CPU time of the whole process meanwhile: faulting threads and handlers, user and system.
  nanoseconds cpu = 0;
};

class touchers {
 public:
  // `cpu`: where all of them run, or any_cpu.
  touchers(const faulting_memory& memory, unsigned threads, int cpu);
  touchers(const touchers&) = delete;
  touchers& operator=(const touchers&) = delete;
  ~touchers();

  // Touches each block once, by whichever thread comes first.
  round_result run();

 private:
  struct alignas(64) worker {
    std::vector<nanoseconds> latencies;
    nanoseconds begin = 0;
    nanoseconds end = 0;
    std::thread thread;
  };

  void work(worker& self, int cpu);
  void touch(worker& self);

  const faulting_memory& memory_;
  std::barrier<> gate_;
  std::atomic<std::size_t> next_block_{0};
  std::atomic<bool> stopping_{false};
  std::vector<worker> workers_;
};

}  // namespace uffd::bench
