// SPDX-License-Identifier: MIT
// The way of a fault from its message to its answer.
#include <cerrno>
#include <string>
#include <system_error>

#include "engine.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/resolve.hpp"
#include "worker.hpp"

namespace uffd::detail {
namespace {

constexpr std::int64_t first_delay = 50'000;        // nanoseconds
constexpr std::int64_t longest_delay = 10'000'000;  // nanoseconds
constexpr std::uint32_t tolerated_strangers = 256;

std::int64_t delay_after(std::uint32_t attempts) noexcept {
  return attempts >= 8 ? longest_delay : first_delay << attempts;
}

page_range page_at(std::uintptr_t address, std::size_t size) noexcept {
  return {align_down(address, size), size};
}

}  // namespace

void engine::dispatch(worker& by, pending_fault pending, std::uint32_t attempts) noexcept {
  // First, so that an event read from here on is noticed at the install; what was read before must
  // have been handled, for the callback's decision and the table rest on it.
  pending.generation = gate_.generation();
  if (has_queued_events()) [[unlikely]] {
    handle_events(by);
    if (has_queued_events()) return wait_for_later(by, pending, first_delay, attempts);
  }
  const auto* piece =
      pending.space->table.load(std::memory_order_acquire)->find(pending.event.address);
  if (piece == nullptr) [[unlikely]]
    return dispatch_stranger(by, pending);
  auto& range = *static_cast<served_range*>(piece->client);
  by.slot().current.store(&range, std::memory_order_seq_cst);
  const auto phase = range.phase.load(std::memory_order_seq_cst);
  if (phase == served_range::state::open) [[likely]] {
    const auto page = page_at(pending.event.address, range.info.page_size);
    const auto offset = piece->offset + (page.begin() - piece->range.begin());
    fault raised(*this, range, pending, page, piece->range, offset, by.buffer());
    settle(by, pending, raised, call(range, raised), attempts);
  } else if (phase == served_range::state::starting) {
    wait_for_later(by, pending, first_delay, attempts);
  } else if (phase == served_range::state::handed_over) {
    static_cast<void>(pending.space->on.wake(page_at(pending.event.address, range.info.page_size)));
  }
  // A closing range wakes all its waiters when it is closed.
  by.slot().current.store(nullptr, std::memory_order_release);
}

resolution engine::call(served_range& range, fault& raised) noexcept {
  try {
    return range.client.on_page_fault(range.client.object, raised);
  } catch (...) {
    record_error(std::current_exception());
    return std::errc::operation_canceled;
  }
}

void engine::settle(worker& by, const pending_fault& pending, fault& raised, resolution answer,
                    std::uint32_t attempts) noexcept {
  using state = resolution::state;
  const bool deferred = raised.deferred_;
  if (deferred)
    answer = resolution::deferred();
  else if (answer.kind() == state::deferred)
    answer = std::errc::protocol_error;
  if (auto* counts = by.statistics()) {
    counts->count(pending.event.kind());
    counts->count(answer.kind());
    if (answer.is_resolved()) counts->count_latency(monotonic_nanoseconds() - pending.read_at);
  }
  switch (answer.kind()) {
    case state::resolved:
    case state::gone:
      // Resolved behind our back, or not at all: a wake lets the thread find out.
      if (!raised.answered_) static_cast<void>(pending.space->on.wake(raised.page()));
      return;
    case state::deferred:
      return;
    case state::retry:
      return wait_for_later(by, pending, delay_after(attempts), attempts + 1);
    case state::failed:
      break;
  }
  record_error(std::make_exception_ptr(
      std::system_error(answer.error(), "serving a page fault at " + to_string(raised.page()))));
  const auto closed = fail_closed(pending.space->on, pending.event, raised.page(), raised.region());
  if (closed.kind() == state::retry)
    wait_for_later(by, pending, delay_after(attempts), attempts + 1);
}

resolution engine::fail_closed(const handle& on, const page_fault& event, page_range page,
                               const region_info& region) noexcept {
  switch (event.kind()) {
    case fault_kind::write_protect:
      return resolve::unprotect(on, page);
    case fault_kind::read_write_protect:
      return resolution_of(on.read_write_unprotect(page).number);
    case fault_kind::missing:
    case fault_kind::minor:
      break;
  }
  if (region.ioctls.has(range_ioctl::poison)) {
    const auto result = resolve::poison(on, page, region.page_size);
    if (result.kind() != resolution::state::failed) return result;
  }
  if (!protect_from_access(on, page))
    end_process("a page can be neither served, poisoned nor protected");
  static_cast<void>(on.wake(page));
  return resolution::resolved();
}

void engine::wait_for_later(worker& by, const pending_fault& pending, std::int64_t delay,
                            std::uint32_t attempts) noexcept {
  if (add_waiting(pending, monotonic_nanoseconds() + delay, attempts)) return;
  if (auto* counts = by.statistics()) counts->dropped.add();
}

// False if there is no room, or nobody left to try again: then it is woken and comes again.
bool engine::add_waiting(const pending_fault& pending, std::int64_t due,
                         std::uint32_t attempts) noexcept {
  if (!is_closed() &&
      waiting_.add({pending.space->shared_from_this(), pending.event, due, attempts})) {
    // This worker may soon be inside a long callback: another one minds the timer too.
    if (nudges_.size() > 1) nudge();
    return true;
  }
  static_cast<void>(pending.space->on.wake(page_at(pending.event.address, page_size())));
  return false;
}

void engine::retry_waiting(worker& by) noexcept {
  const auto now = monotonic_nanoseconds();
  while (auto waiting = waiting_.take(now))
    dispatch(by, {waiting->event, waiting->space.get(), 0, now}, waiting->attempts);
}

void engine::wake_waiting() noexcept {
  while (const auto waiting = waiting_.take(INT64_MAX))
    static_cast<void>(waiting->space->on.wake(page_at(waiting->event.address, page_size())));
}

// An address that nobody serves: its range ended or moved a moment ago, so the thread looks again.
// One that keeps coming was registered on the handle past serve(): it fails closed.
void engine::dispatch_stranger(worker& by, const pending_fault& pending) noexcept {
  if (auto* counts = by.statistics()) counts->strangers.add();
  const auto page = page_at(pending.event.address, page_size());
  const bool again = stranger_.exchange(page.begin(), std::memory_order_relaxed) == page.begin();
  const auto repeats = again ? stranger_repeats_.fetch_add(1, std::memory_order_relaxed) + 1 : 0;
  if (!again) stranger_repeats_.store(0, std::memory_order_relaxed);
  if (repeats < tolerated_strangers) {
    static_cast<void>(pending.space->on.wake(page));
    return;
  }
  record_error(std::make_exception_ptr(
      std::system_error(std::make_error_code(std::errc::bad_address),
                        "a page fault outside every served range, at " + to_string(page))));
  region_info unknown;
  unknown.page_size = page.size();
  unknown.ioctls = range_ioctl::poison;
  static_cast<void>(fail_closed(pending.space->on, pending.event, page, unknown));
}

}  // namespace uffd::detail
