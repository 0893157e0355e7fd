// SPDX-License-Identifier: MIT
// The way of a fault from its message to its answer.
#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "engine.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/resolve.hpp"
#include "worker.hpp"

namespace uffd::detail {
namespace {

constexpr std::int64_t first_delay = 50'000;        // nanoseconds
constexpr std::int64_t longest_delay = 10'000'000;  // nanoseconds
// A stranger's attempts, apart from those that a callback asked for. The last is after two and a
// half seconds.
constexpr std::uint32_t first_stranger_attempt = std::uint32_t{1} << 30;
constexpr std::uint32_t last_stranger_attempt = first_stranger_attempt + 256;
constexpr std::uint32_t failing_stranger = last_stranger_attempt + 2;
constexpr std::int64_t stranger_memory = 1'000'000'000;  // nanoseconds

std::int64_t delay_after(std::uint32_t attempts) noexcept {
  return attempts >= 8 ? longest_delay : first_delay << attempts;
}

page_range page_at(std::uintptr_t address, std::size_t size) noexcept {
  return {align_down(address, size), size};
}

}  // namespace

inline resolution engine::call(served_range& range, fault& raised) noexcept {
  try {
    return range.client.on_page_fault(range.client.object, raised);
  } catch (...) {
    record_error(std::current_exception());
    return std::errc::operation_canceled;
  }
}

void engine::dispatch(worker& by, pending_fault& pending, std::uint32_t attempts) noexcept {
  // First, so that an event read from here on is noticed at the install; what was read before must
  // have been handled, for the callback's decision and the table rest on it.
  pending.generation = gate_.generation();
  if (has_queued_events()) [[unlikely]] {
    handle_events(by);
    // Due at once when the events are handled.
    if (has_queued_events()) return wait_for_later(by, pending, longest_delay, attempts);
  }
  const auto* piece =
      pending.space->table.load(std::memory_order_seq_cst)->find(pending.event.address);
  if (piece == nullptr) [[unlikely]]
    return dispatch_stranger(by, pending, attempts);
  auto& range = *static_cast<served_range*>(piece->client);
  by.slot().current.store(&range, std::memory_order_seq_cst);
  const auto phase = range.phase.load(std::memory_order_seq_cst);
  if (phase == served_range::state::open) [[likely]] {
    const auto page = page_at(pending.event.address, range.info.page_size);
    fault raised(this, range, range.info, pending, page, *piece, by.buffer());
    const resolution answer = call(range, raised);
    if (!answer.is_resolved() || !raised.answered_ || by.statistics() != nullptr) [[unlikely]]
      settle(by, pending, raised, answer, attempts);
  } else if (phase == served_range::state::starting) {
    wait_for_later(by, pending, first_delay, attempts);
  } else if (range.is_handed_over()) {
    static_cast<void>(pending.space->on.wake(page_at(pending.event.address, range.info.page_size)));
  }
  // A closing range wakes all its waiters when it is closed.
  by.slot().current.store(nullptr, std::memory_order_release);
}

bool engine::enter_gate(const pending_fault& pending, page_range page, page_range range) noexcept {
  gate_.lock_shared();
  if (!gate_.touched_since(pending.generation, pending.space, range)) return true;
  gate_.unlock_shared();
  static_cast<void>(pending.space->on.wake(page));
  return false;
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
  record_failure("serving the page fault", answer.error(), raised.page(), raised.offset());
  // Something else may be mapped there since.
  const auto closed = install(pending, raised.page(), raised.page(), [&] {
    return fail_closed(pending.space->on, pending.event, raised.page(), raised.region());
  });
  if (closed.kind() == state::retry)
    wait_for_later(by, pending, delay_after(attempts), attempts + 1);
  else if (closed.kind() == state::failed)
    static_cast<void>(pending.space->on.wake(raised.page()));
}

namespace {

// A page that its file, truncated meanwhile, no longer has can't be poisoned; to whoever tries
// again the kernel itself gives SIGBUS.
resolution poison_or_let_fail(const handle& on, page_range page) noexcept {
  const auto answer = resolve::poison(on, page, page.size());
  if (answer.error() != std::errc::bad_address) return answer;
  static_cast<void>(on.wake(page));
  return resolution::resolved();
}

}  // namespace

resolution engine::fail_closed(const handle& on, const page_fault& event, page_range page,
                               const region_info& region) noexcept {
  switch (event.kind()) {
    case fault_kind::write_protect:
      return resolve::unprotect(on, page);
    case fault_kind::read_write_protect:
      return resolve::read_write_unprotect(on, page);
    case fault_kind::missing:
    case fault_kind::minor:
      break;
  }
  if (region.ioctls.has(range_ioctl::poison)) {
    const auto result = poison_or_let_fail(on, page);
    if (result.kind() != resolution::state::failed) return result;
  }
  if (!protect_from_access(on, page, region.page_size))
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

bool engine::take_in(address_space& space) noexcept {
  std::array<uapi::message, message_reader::capacity> messages{};
  if (!events_.has_room_for(messages.size())) return false;
  const auto before = events_read_.load(std::memory_order_relaxed);
  const auto faults = is_gated_ ? read_urgently(space, messages) : read(space, messages);
  for (const uapi::message& raw : faults) {
    const auto fault = decode_fault(raw, space.features);
    if (waiting_.add({space.shared_from_this(), fault, 0, 0})) continue;
    // Woken now, it would be read here again and again.
    const auto page = page_at(fault.address, page_size());
    const auto hull = space.unanswered.value_or(page);
    space.unanswered =
        range_between(std::min(hull.begin(), page.begin()), std::max(hull.end(), page.end()));
  }
  const bool some = !faults.empty() || events_read_.load(std::memory_order_relaxed) != before;
  if (some) nudge();
  return some;
}

void engine::wake_unanswered(address_space& space) noexcept {
  if (const auto hull = std::exchange(space.unanswered, std::nullopt))
    static_cast<void>(space.on.wake(*hull));
}

void engine::retry_waiting(worker& by) noexcept {
  const auto now = monotonic_nanoseconds();
  while (auto waiting = waiting_.take(now)) {
    pending_fault pending{waiting->event, waiting->space.get(), 0, now};
    dispatch(by, pending, waiting->attempts);
    if (is_stopping()) close_once();
  }
}

void engine::wake_waiting() noexcept {
  {
    const std::lock_guard lock(control_);
    for_each_space([&](address_space& space) { wake_unanswered(space); });
  }
  while (const auto waiting = waiting_.take(INT64_MAX))
    static_cast<void>(waiting->space->on.wake(page_at(waiting->event.address, page_size())));
}

// An address that nobody serves. Its range may have ended or moved a moment ago, then a wake lets
// the thread see it; or its range comes in a moment (serve_registered()), so the fault waits, and
// whoever asks again meanwhile sleeps on. After the last attempt it is woken once more, and only if
// it comes back even then, so that it is no leftover, it fails closed: it was registered past
// serve().
void engine::dispatch_stranger(worker& by, const pending_fault& pending,
                               std::uint32_t attempts) noexcept {
  if (attempts == failing_stranger) return fail_stranger(pending);
  if (attempts > last_stranger_attempt) return;
  const bool is_first = attempts < first_stranger_attempt;
  if (is_first) attempts = first_stranger_attempt;
  if (is_first && by.statistics() != nullptr) by.statistics()->strangers.add();
  const bool is_last = attempts == last_stranger_attempt;
  const auto delay = is_last ? stranger_memory : delay_after(attempts - first_stranger_attempt);
  const auto due = monotonic_nanoseconds() + delay;
  waiting_faults::added added{false, true, 0};
  if (!is_closed())
    added = waiting_.add({pending.space->shared_from_this(), pending.event, due, attempts + 1});
  if (added.is_new && added.waits && nudges_.size() > 1) nudge();
  if (!added.is_new) {
    if (added.attempts > last_stranger_attempt) fail_stranger(pending);
  } else if (is_first || is_last || !added.waits) {
    static_cast<void>(pending.space->on.wake(page_at(pending.event.address, page_size())));
  }
}

namespace {

// Makes a page inaccessible whose region and page size are unknown.
resolution close_stranger(const handle& on, const page_fault& event) noexcept {
  const auto page = page_at(event.address, page_size());
  if (event.kind() == fault_kind::write_protect) return resolve::unprotect(on, page);
  if (event.kind() == fault_kind::read_write_protect)
    return resolve::read_write_unprotect(on, page);
  // EINVAL says that its page is larger.
  constexpr std::size_t largest = std::size_t{1} << 30;
  for (std::size_t size = page.size(); size <= largest; size *= 2) {
    const auto answer = poison_or_let_fail(on, page_at(event.address, size));
    if (answer.kind() != resolution::state::failed) return answer;
    if (answer.error() != std::errc::invalid_argument) break;
  }
  if (!protect_from_access(on, page, page.size()))
    end_process("a page that nobody serves can be neither poisoned nor protected");
  static_cast<void>(on.wake(page));
  return resolution::resolved();
}

}  // namespace

// With the lock, so that its range doesn't come in this moment.
void engine::fail_stranger(const pending_fault& pending) noexcept {
  const auto page = page_at(pending.event.address, page_size());
  const std::unique_lock lock(control_, std::try_to_lock);
  if (!lock || pending.space->current->find(pending.event.address) != nullptr) {
    add_waiting(pending, monotonic_nanoseconds() + longest_delay, failing_stranger);
    return;
  }
  record_failure("a page fault outside every served range",
                 std::make_error_code(std::errc::bad_address), page, 0);
  const auto answer = close_stranger(pending.space->on, pending.event);
  if (answer.kind() == resolution::state::retry)
    add_waiting(pending, monotonic_nanoseconds() + longest_delay, failing_stranger);
  else if (answer.kind() == resolution::state::failed)
    static_cast<void>(pending.space->on.wake(page));
}

}  // namespace uffd::detail
