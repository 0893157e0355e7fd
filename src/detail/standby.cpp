// SPDX-License-Identifier: MIT
#include "standby.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

// A wake-up disturbs threads that fault and answer in turns on one CPU: one every two milliseconds
// costs a twentieth to a sixth of their speed. While workers get on, looks become as rare as this.
constexpr long shortest_tick = 2'000'000;  // nanoseconds
constexpr long longest_tick = 16'000'000;

}  // namespace

standby::standby(engine& owner, std::size_t index)
    : engine_(owner),
      slot_(owner.readers().slot(index)),
      nudge_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      seen_turns_(index) {
  if (!nudge_) throw_errno(errno, "eventfd");
}

void standby::run() noexcept {
  auto seen = sighting::moving;
  long tick = shortest_tick;
  while (!over_.load(std::memory_order_acquire)) {
    const bool again = seen == sighting::busy;
    sleep(seen == sighting::idle, again ? shortest_tick : tick);
    seen = look_at_workers();
    if (seen == sighting::stuck) drain();
    if (seen == sighting::stuck || seen == sighting::idle)
      tick = shortest_tick;
    else if (again)
      seen = sighting::moving;  // one look in between is enough
    else
      tick = std::min(2 * tick, longest_tick);
  }
}

void standby::end() noexcept {
  over_.store(true, std::memory_order_release);
  signal_eventfd(nudge_.get());
}

void standby::wake() noexcept {
  if (asleep_.exchange(false)) signal_eventfd(nudge_.get());
}

// Deep sleep ends with the next turn of a worker, which sees `asleep_` or is seen here.
void standby::sleep(bool deeply, long tick) noexcept {
  if (deeply) asleep_.store(true, std::memory_order_seq_cst);
  const bool really = deeply && all_idle();
  pollfd entry{nudge_.get(), POLLIN, 0};
  const timespec limit{0, tick};
  if (call_poll(&entry, 1, really ? nullptr : &limit) > 0) drain_counter(nudge_.get());
  asleep_.store(false, std::memory_order_relaxed);
}

bool standby::all_idle() const noexcept {
  for (std::size_t i = 0; i < seen_turns_.size(); ++i)
    if (engine_.readers().slot(i).epoch.load(std::memory_order_seq_cst) != 0) return false;
  return true;
}

// What the workers that run did since the last look. Busy: every one is inside a turn; stuck:
// inside the turn that it was in then.
standby::sighting standby::look_at_workers() noexcept {
  bool busy = true;
  bool moved = false;
  for (std::size_t i = 0; i < seen_turns_.size(); ++i) {
    const reader_slot& slot = engine_.readers().slot(i);
    if (!slot.runs.load(std::memory_order_acquire)) continue;
    const auto turns = slot.turns.load(std::memory_order_relaxed);
    moved = moved || turns != std::exchange(seen_turns_[i], turns);
    busy = busy && slot.epoch.load(std::memory_order_seq_cst) != 0;
  }
  if (busy) return moved ? sighting::busy : sighting::stuck;
  return !moved && all_idle() ? sighting::idle : sighting::moving;
}

void standby::drain() noexcept {
  engine_.readers().enter(slot_);
  read(engine_.own_space());
  if (engine_.children() != 0) {
    std::array<epoll_event, 16> ready{};
    const int count =
        ::epoll_wait(engine_.children_poll(), ready.data(), static_cast<int>(ready.size()), 0);
    for (int i = 0; i < count; ++i)
      read(*static_cast<address_space*>(ready[static_cast<std::size_t>(i)].data.ptr));
  }
  engine_.readers().leave(slot_);
}

// Events are queued by the engine; faults wait for a worker.
void standby::read(address_space& space) noexcept {
  for (const uapi::message& raw : engine_.read(space, messages_))
    engine_.add_waiting({decode_fault(raw, space.features), &space, 0, 0}, 0, 0);
  if (engine_.has_queued_events() || engine_.has_waiting()) engine_.nudge();
}

}  // namespace uffd::detail
