// SPDX-License-Identifier: MIT
// One worker's statistics: written by it alone, read by anybody.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "uffd/handler_statistics.hpp"
#include "uffd/message.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

class counter {
 public:
  // One writer only, so no read-modify-write is needed.
  void add() noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void raise_to(std::uint64_t value) noexcept {
    if (value > value_.load(std::memory_order_relaxed))
      value_.store(value, std::memory_order_relaxed);
  }
  std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct counters {
  std::array<counter, 4> kinds;    // by fault_kind
  std::array<counter, 5> answers;  // by resolution::state
  counter strangers;
  counter dropped;
  counter events;
  counter empty_reads;
  std::array<counter, latency_histogram::bucket_count> latency;
  counter longest;

  void count(fault_kind kind) noexcept { kinds[static_cast<std::size_t>(kind)].add(); }
  void count(resolution::state answer) noexcept { answers[static_cast<std::size_t>(answer)].add(); }
  void count_latency(std::int64_t nanoseconds) noexcept {
    const auto value = static_cast<std::uint64_t>(nanoseconds < 0 ? 0 : nanoseconds);
    latency[latency_histogram::bucket_of(value)].add();
    longest.raise_to(value);
  }

  void add_to(handler_statistics& sum) const noexcept {
    const auto kind = [&](fault_kind of) { return kinds[static_cast<std::size_t>(of)].value(); };
    const auto answer = [&](resolution::state of) {
      return answers[static_cast<std::size_t>(of)].value();
    };
    sum.missing += kind(fault_kind::missing);
    sum.minor += kind(fault_kind::minor);
    sum.write_protect += kind(fault_kind::write_protect);
    sum.read_write_protect += kind(fault_kind::read_write_protect);
    sum.resolved += answer(resolution::state::resolved);
    sum.retried += answer(resolution::state::retry);
    sum.gone += answer(resolution::state::gone);
    sum.deferred += answer(resolution::state::deferred);
    sum.failed += answer(resolution::state::failed);
    sum.strangers += strangers.value();
    sum.dropped += dropped.value();
    sum.events += events.value();
    sum.empty_reads += empty_reads.value();
    for (std::size_t i = 0; i < latency.size(); ++i) sum.latency.add(i, latency[i].value(), 0);
    sum.latency.add(0, 0, longest.value());
  }
};

}  // namespace uffd::detail
