// SPDX-License-Identifier: MIT
#include "worker.hpp"

#include <fcntl.h>
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
constexpr std::size_t shared_batch = 1;

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
      statistics_(options.statistics ? std::make_unique<counters>() : nullptr),
      entries_{{{owner.own_space().descriptor_number, POLLIN, 0},
                {nudge_.get(), POLLIN, 0},
                {owner.children_poll(), POLLIN, 0}}} {
  if (!nudge_) throw_errno(errno, "eventfd");
  engine_.add_nudge(nudge_.get());
}

const reader_slot* worker::current_slot() noexcept { return slot_of_this_thread; }

// Flattened: one fault is a few hundred instructions, of which calls would be a fifth.
[[gnu::flatten]] void worker::run() noexcept {
  const auto* const outer = std::exchange(slot_of_this_thread, &slot_);
  slot_.runs.store(true, std::memory_order_release);
  while (turn_quietly() || turn_with_chores()) {
  }
  finish();
  slot_.runs.store(false, std::memory_order_release);
  slot_of_this_thread = outer;
}

void worker::dispatch_once() noexcept {
  const auto* const outer = std::exchange(slot_of_this_thread, &slot_);
  const timespec at_once{0, 0};
  turn(look(entries_.size(), call_poll(entries_.data(), entries_.size(), &at_once)));
  slot_of_this_thread = outer;
}

worker::readiness worker::look_now() noexcept {
  const timespec at_once{0, 0};
  if (call_poll(entries_.data(), entries_.size(), &at_once) <= 0) return {false, false};
  return {entries_[0].revents == POLLIN, entries_[2].revents == POLLIN};
}

// Nothing is registered any more, so what can still be read are events that somebody waits for; a
// fork that is under way sends its own a moment later. What can't be read for long (EMFILE) is
// released when the descriptor closes.
[[gnu::cold, gnu::noinline]] void worker::finish() noexcept {
  const auto* const outer = std::exchange(slot_of_this_thread, &slot_);
  const auto fruitless = engine_.fruitless_reads();
  wait_for_forks();
  for (auto ready = look_now();
       ready.any() && !engine_.hands_over() &&
       engine_.fruitless_reads() - fruitless < engine::most_fruitless_reads;
       ready = look_now())
    turn(ready);
  engine_.readers().enter(slot_);  // the standby shall see it if a callback gets stuck
  if (standby_ != nullptr) standby_->wake_if_asleep();
  if (engine_.has_queued_events()) engine_.handle_events(*this);
  engine_.wake_waiting();
  engine_.readers().leave(slot_);
  slot_of_this_thread = outer;
}

// As a turn: another worker may hold the lock and wait for the allocator, which a fork holds whose
// event the standby must read.
void worker::wait_for_forks() noexcept {
  if (engine_.hands_over()) return;
  engine_.readers().enter(slot_);
  if (standby_ != nullptr) standby_->wake_if_asleep();
  engine_.wait_for_forks_under_way();
  engine_.readers().leave(slot_);
}

std::int64_t worker::wait_limit() const noexcept {
  if (engine_.has_idle_events() && !engine_.attends_to_events()) return 0;
  std::int64_t limit = no_limit;
  if (engine_.has_waiting())
    limit = std::max<std::int64_t>(0, engine_.next_retry() - monotonic_nanoseconds());
  if (sweeps_ && (engine_.children() != 0 || engine_.readers().has_retired()))
    limit = limit == no_limit ? sweep_interval : std::min(limit, sweep_interval);
  return limit;
}

// The short way that nearly every fault takes: there is nothing but messages. False if there is.
bool worker::turn_quietly() noexcept {
  if (!engine_.is_quiet()) [[unlikely]]
    return false;
  if (!busy_polling_ && (call_poll(entries_.data(), 2) != 1 || entries_[0].revents != POLLIN))
      [[unlikely]]
    return false;
  engine_.readers().enter(slot_);
  if (standby_ != nullptr) standby_->wake_if_asleep();
  read(engine_.own_space());
  engine_.readers().leave(slot_);
  return true;
}

// Waits no longer than until the next chore. False when all is closed.
[[gnu::noinline]] bool worker::turn_with_chores() noexcept {
  if (engine_.is_closed()) return false;
  const nfds_t count = engine_.children() != 0 ? 3 : 2;
  const auto limit = busy_polling_ ? 0 : wait_limit();
  const timespec timeout = to_timespec(limit);
  turn(look(count, call_poll(entries_.data(), count, limit == no_limit ? nullptr : &timeout)));
  return true;
}

worker::readiness worker::look(nfds_t count, int ready) noexcept {
  if (ready <= 0) return {false, false};
  if (entries_[1].revents != 0) drain_counter(nudge_.get());
  if ((entries_[0].revents & POLLERR) != 0) never_block(entries_[0].fd);
  return {entries_[0].revents != 0, count > 2 && entries_[2].revents != 0};
}

// The kernel's answer where O_NONBLOCK is off, and a read() without end would follow: another
// process that has the same open file has changed it.
[[gnu::cold]] void worker::never_block(int descriptor) noexcept {
  const int status = ::fcntl(descriptor, F_GETFL);
  if (status >= 0) ::fcntl(descriptor, F_SETFL, status | O_NONBLOCK);
}

void worker::turn(readiness ready) noexcept {
  engine_.readers().enter(slot_);
  if (standby_ != nullptr) standby_->wake_if_asleep();
  if (engine_.is_stopping()) engine_.close_once();
  if (ready.own) read(engine_.own_space());
  do_chores(ready.children);
  engine_.readers().leave(slot_);
}

void worker::do_chores(bool children_ready) noexcept {
  if (engine_.is_stopping()) engine_.close_once();
  if (children_ready) read_children();
  if (engine_.has_queued_events()) engine_.handle_events(*this);
  if (engine_.has_waiting()) engine_.retry_waiting(*this);
  if (sweeps_) sweep();
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
  const auto faults = engine_.read(space, std::span(messages_).first(batch_));
  // With faults, the first of them sees to the events.
  if (faults.empty() && engine_.has_queued_events()) engine_.handle_events(*this);
  const std::int64_t read_at = statistics_ ? count_read(faults.empty()) : 0;
  for (auto next = faults.begin(); next != faults.end();) {
    pending_fault pending{decode_fault(*next, space.features), &space, 0, read_at};
    engine_.dispatch(*this, pending);
    if (++next != faults.end() && engine_.is_stopping()) engine_.close_once();
  }
}

[[gnu::cold, gnu::noinline]] std::int64_t worker::count_read(bool empty) noexcept {
  if (empty) statistics_->empty_reads.add();
  return monotonic_nanoseconds();
}

void worker::read_children() noexcept {
  std::array<epoll_event, 16> ready{};
  const int count =
      ::epoll_wait(engine_.children_poll(), ready.data(), static_cast<int>(ready.size()), 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& one = ready[static_cast<std::size_t>(i)];
    address_space& child = *static_cast<address_space*>(one.data.ptr);
    if ((one.events & EPOLLERR) != 0) never_block(child.descriptor_number);
    read(child);
  }
}

}  // namespace uffd::detail
