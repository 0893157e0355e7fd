// SPDX-License-Identifier: MIT
#include "support/touchers.hpp"

#include <time.h>

#include <algorithm>

#include "support/cpus.hpp"

namespace uffd::bench {
namespace {

// Threads take this many blocks at once, so that they don't compete for the same page table.
constexpr std::size_t share = 16;

nanoseconds now(clockid_t clock) noexcept {
  timespec time{};
  ::clock_gettime(clock, &time);
  return nanoseconds{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

touchers::touchers(const faulting_memory& memory, unsigned threads, int cpu)
    : memory_(memory), gate_(static_cast<std::ptrdiff_t>(threads) + 1), workers_(threads) {
  for (worker& each : workers_) {
    each.latencies.reserve(memory.block_count());
    each.thread = std::thread([this, &each, cpu] { work(each, cpu); });
  }
}

touchers::~touchers() {
  stopping_ = true;
  gate_.arrive_and_wait();
  for (worker& each : workers_) each.thread.join();
}

round_result touchers::run() {
  round_result result;
  next_block_ = 0;
  const nanoseconds cpu_before = now(CLOCK_PROCESS_CPUTIME_ID);
  gate_.arrive_and_wait();
  gate_.arrive_and_wait();
  result.cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu_before;
  nanoseconds begin = workers_.front().begin;
  nanoseconds end = workers_.front().end;
  for (const worker& each : workers_) {
    begin = std::min(begin, each.begin);
    end = std::max(end, each.end);
    result.latencies.insert(result.latencies.end(), each.latencies.begin(), each.latencies.end());
  }
  result.wall = end - begin;
  return result;
}

void touchers::work(worker& self, int cpu) {
  pin_this_thread(cpu);
  for (;;) {
    gate_.arrive_and_wait();
    if (stopping_) return;
    touch(self);
    gate_.arrive_and_wait();
  }
}

void touchers::touch(worker& self) {
  const std::size_t blocks = memory_.block_count();
  self.latencies.clear();
  self.begin = now(CLOCK_MONOTONIC);
  for (;;) {
    const std::size_t first = next_block_.fetch_add(share, std::memory_order_relaxed);
    if (first >= blocks) break;
    for (std::size_t block = first; block < std::min(first + share, blocks); ++block) {
      const nanoseconds before = now(CLOCK_MONOTONIC);
      memory_.touch_block(block);
      self.latencies.push_back(now(CLOCK_MONOTONIC) - before);
    }
  }
  self.end = now(CLOCK_MONOTONIC);
}

}  // namespace uffd::bench
