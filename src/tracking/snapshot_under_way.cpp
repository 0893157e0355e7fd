// SPDX-License-Identifier: MIT
#include "tracking/snapshot_under_way.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "detail/monotonic.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

std::error_code system_error_of(int number) noexcept { return {number, std::system_category()}; }

}  // namespace

snapshot_under_way::snapshot_under_way(std::shared_ptr<snapshot_memory> memory,
                                       std::unique_ptr<page_sink> sink, bool is_delta,
                                       const event_barrier* barrier)
    : memory_(std::move(memory)),
      sink_(std::move(sink)),
      barrier_(barrier),
      saver_(*memory_, *sink_, is_delta) {
  report_.is_delta = is_delta;
  thread_.emplace("uffd-snapshot", std::nullopt, [this] { run(); });
}

snapshot_under_way::~snapshot_under_way() {
  if (home_.in_child()) return;
  auto before = stage::prepared;
  if (stage_.compare_exchange_strong(before, stage::abandoned)) stage_.notify_all();
  thread_->join();
}

void snapshot_under_way::start(std::chrono::nanoseconds pause, std::size_t bytes_ahead,
                               std::size_t bytes_at_the_moment) noexcept {
  report_.pause = pause;
  report_.protected_ahead = bytes_ahead;
  report_.protected_in_pause = bytes_at_the_moment;
  began_ = monotonic_nanoseconds();
  stage_.store(stage::started, std::memory_order_release);
  stage_.notify_all();
}

void snapshot_under_way::cancel() noexcept {
  if (home_.in_child()) return;
  const std::lock_guard lock(ending_);
  if (!has_ended_) memory_->fail({system_error_of(ECANCELED), "it was cancelled", {}});
}

void snapshot_under_way::wait() const noexcept {
  if (!home_.in_child()) is_over_.wait(false, std::memory_order_acquire);
}

const snapshot_report& snapshot_under_way::report() const {
  if (!is_over()) throw_errno(EOWNERDEAD, "snapshot: in a forked child");
  if (failure_.error) {
    std::string text = std::string("snapshot: ") + failure_.what;
    if (!failure_.where.empty()) text += " " + to_string(failure_.where);
    throw std::system_error(failure_.error, text);
  }
  return report_;
}

snapshot_progress snapshot_under_way::progress() const noexcept {
  const auto wanted = wanted_bytes_.load(std::memory_order_relaxed);
  return {std::min(saver_.so_far().done.load(std::memory_order_relaxed), wanted), wanted};
}

void snapshot_under_way::run() noexcept {
  stage_.wait(stage::prepared, std::memory_order_acquire);
  if (stage_.load(std::memory_order_acquire) == stage::abandoned) return;
  std::size_t wanted = 0;
  for (auto& area : memory_->areas())
    area->pages.for_each_with(page_bit::owed, 0, area->pages.pages(),
                              [&](std::size_t) { wanted += area->page_size; });
  wanted_bytes_.store(wanted, std::memory_order_relaxed);
  saver_.run();
  // The file system may take long.
  memory_->let_nobody_wait();
  const bool is_complete = save();
  {
    const std::lock_guard lock(ending_);
    has_ended_ = true;
    make_report(is_complete);
    // Some of what was wanted needed nothing to be done.
    if (is_complete)
      wanted_bytes_.store(saver_.so_far().done.load(std::memory_order_relaxed),
                          std::memory_order_relaxed);
    memory_->end(is_complete);
  }
  report_.longest_wait = std::chrono::nanoseconds(memory_->longest_wait());
  sink_.reset();
  is_over_.store(true, std::memory_order_release);
  is_over_.notify_all();
}

// What was dropped before the last page was read must be known before the end.
bool snapshot_under_way::save() noexcept {
  if (barrier_ != nullptr && memory_->is_saving() && !barrier_->pass())
    memory_->fail({system_error_of(ETIMEDOUT), "the fault handler tells of no events", {}});
  if (!memory_->is_saving()) return false;
  const auto error = sink_->commit();
  if (error) memory_->fail({error, "committing it", {}});
  return !error;
}

void snapshot_under_way::make_report(bool is_complete) noexcept {
  if (!is_complete) failure_ = memory_->failure();
  const auto& counts = saver_.so_far();
  report_.duration = std::chrono::nanoseconds(monotonic_nanoseconds() - began_);
  report_.saved_bytes = counts.put.load(std::memory_order_relaxed);
  report_.zero_bytes = counts.zero.load(std::memory_order_relaxed);
  report_.pre_images = memory_->pre_images();
  report_.peak_extra_memory = saver_.batch_size();
  for (const auto& each : memory_->buffers()) report_.peak_extra_memory += each->most_bytes();
}

}  // namespace uffd::detail
