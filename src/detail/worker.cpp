// SPDX-License-Identifier: MIT
#include "worker.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"
#include "uffd/message_reader.hpp"

namespace uffd::detail {
namespace {

constexpr std::int64_t sweep_interval = 100'000'000;  // nanoseconds
constexpr std::int64_t no_limit = -1;
// What one worker takes, the others can't serve while its callbacks run.
constexpr std::size_t shared_batch = 2;

thread_local const reader_slot* slot_of_this_thread = nullptr;

mapping make_buffer(std::size_t bytes) {
  mapping buffer = mapping::anonymous(bytes);
  buffer.keep_from_children();
  return buffer;
}

}  // namespace

worker::worker(engine& owner, std::size_t index, const fault_handler_options& options,
               std::size_t workers, standby* standby)
    : engine_(owner),
      slot_(owner.readers().slot(index)),
      standby_(standby),
      busy_polling_(options.busy_polling),
      sweeps_(index == 0),
      batch_(workers == 1 ? message_reader::capacity : shared_batch),
      buffer_(make_buffer(options.buffer_size)),
      nudge_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      statistics_(options.statistics ? std::make_unique<counters>() : nullptr) {
  if (!nudge_) throw_errno(errno, "eventfd");
  engine_.add_nudge(nudge_.get());
}

const reader_slot* worker::current_slot() noexcept { return slot_of_this_thread; }

void worker::run() noexcept {
  slot_of_this_thread = &slot_;
  while (!engine_.is_closed()) {
    const auto limit = wait_limit();
    const timespec timeout = to_timespec(limit);
    turn(wait(limit == no_limit ? nullptr : &timeout));
  }
  finish();
  slot_of_this_thread = nullptr;
}

void worker::dispatch_once() noexcept {
  const auto* const outer = std::exchange(slot_of_this_thread, &slot_);
  const timespec at_once{0, 0};
  turn(wait(&at_once));
  slot_of_this_thread = outer;
}

// Nothing is registered any more, so what can still be read are events that somebody waits for.
void worker::finish() noexcept {
  pollfd entry{engine_.on().fd(), POLLIN, 0};
  const timespec at_once{0, 0};
  while (!engine_.hands_over() && call_poll(&entry, 1, &at_once) > 0 && entry.revents == POLLIN)
    turn({true, false});
  engine_.wake_waiting();
}

std::int64_t worker::wait_limit() const noexcept {
  std::int64_t limit = no_limit;
  if (engine_.has_waiting())
    limit = std::max<std::int64_t>(0, engine_.next_retry() - monotonic_nanoseconds());
  if (sweeps_ && (engine_.children() != 0 || engine_.readers().has_retired()))
    limit = limit == no_limit ? sweep_interval : std::min(limit, sweep_interval);
  return limit;
}

worker::readiness worker::wait(const timespec* timeout) noexcept {
  const bool has_children = engine_.children() != 0;
  if (busy_polling_) return {true, has_children};
  std::array<pollfd, 3> entries{{{engine_.on().fd(), POLLIN, 0},
                                 {nudge_.get(), POLLIN, 0},
                                 {engine_.children_poll(), POLLIN, 0}}};
  if (call_poll(entries.data(), has_children ? 3 : 2, timeout) <= 0) return {false, false};
  if (entries[1].revents != 0) drain_counter(nudge_.get());
  return {entries[0].revents != 0, entries[2].revents != 0};
}

void worker::turn(readiness ready) noexcept {
  engine_.readers().enter(slot_);
  if (standby_ != nullptr) standby_->wake_if_asleep();
  if (engine_.is_stopping()) [[unlikely]]
    engine_.close_once();
  if (ready.own) read(engine_.own_space());
  if (ready.children) read_children();
  if (engine_.has_queued_events()) engine_.handle_events(*this);
  if (engine_.has_waiting()) engine_.retry_waiting(*this);
  if (sweeps_) sweep();
  engine_.readers().leave(slot_);
}

// Forgets children that died and frees what no reader sees any more; now and then is often enough.
void worker::sweep() noexcept {
  if (engine_.readers().has_retired()) engine_.readers().collect(&slot_);
  if (engine_.children() == 0) return;
  const auto now = monotonic_nanoseconds();
  if (now < next_sweep_) return;
  next_sweep_ = now + sweep_interval;
  engine_.forget_dead_children();
}

void worker::read(address_space& space) noexcept {
  const auto messages = engine_.read(space, std::span(messages_).first(batch_));
  if (messages.total == 0 && statistics_) statistics_->empty_reads.add();
  const std::int64_t read_at = statistics_ ? monotonic_nanoseconds() : 0;
  const auto features = space.on.features();
  for (const uapi::message& raw : messages.faults)
    engine_.dispatch(*this, {decode_fault(raw, features), &space, 0, read_at});
}

void worker::read_children() noexcept {
  std::array<epoll_event, 16> ready{};
  const int count =
      ::epoll_wait(engine_.children_poll(), ready.data(), static_cast<int>(ready.size()), 0);
  for (int i = 0; i < count; ++i)
    read(*static_cast<address_space*>(ready[static_cast<std::size_t>(i)].data.ptr));
}

}  // namespace uffd::detail
