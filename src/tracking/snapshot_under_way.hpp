// SPDX-License-Identifier: MIT
// One snapshot, from the moment on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "detail/thread.hpp"
#include "tracking/event_barrier.hpp"
#include "tracking/page_saver.hpp"
#include "tracking/page_sink.hpp"
#include "tracking/snapshot_memory.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/tracking/snapshot_options.hpp"

namespace uffd::detail {

class snapshot_under_way {
 public:
  // Its thread waits for start(). `barrier`, where removals are heard of, must outlive the end.
  // Throws std::system_error.
  snapshot_under_way(std::shared_ptr<snapshot_memory> memory, std::unique_ptr<page_sink> sink,
                     bool is_delta, const event_barrier* barrier);
  snapshot_under_way(const snapshot_under_way&) = delete;
  snapshot_under_way& operator=(const snapshot_under_way&) = delete;
  // If it is under way it must have been cancelled.
  ~snapshot_under_way();

  // After the moment. One that never starts leaves everything alone.
  void start(std::chrono::nanoseconds pause, std::size_t bytes_ahead,
             std::size_t bytes_at_the_moment) noexcept;
  // Any thread, at any time.
  void cancel() noexcept;
  // Until the end, which a forked child does not wait for.
  void wait() const noexcept;
  bool is_over() const noexcept { return is_over_.load(std::memory_order_acquire); }
  bool is_complete() const noexcept { return is_over() && !failure_.error; }
  // After the end. Throws std::system_error if it failed.
  const snapshot_report& report() const;
  snapshot_progress progress() const noexcept;

 private:
  enum class stage : std::uint8_t { prepared, started, abandoned };

  void run() noexcept;
  bool save() noexcept;
  void make_report(bool is_complete) noexcept;

  process_mark home_ = process_mark::here();
  std::shared_ptr<snapshot_memory> memory_;
  std::unique_ptr<page_sink> sink_;
  const event_barrier* barrier_;
  page_saver saver_;
  snapshot_report report_;
  snapshot_failure failure_;
  std::int64_t began_ = 0;
  std::atomic<std::size_t> wanted_bytes_{0};
  std::mutex ending_;  // of this, against cancel()
  bool has_ended_ = false;
  std::atomic<stage> stage_{stage::prepared};
  std::atomic<bool> is_over_{false};
  std::optional<thread> thread_;
};

}  // namespace uffd::detail
