// SPDX-License-Identifier: MIT
// What fault_handler and fault_loop share: address spaces, served ranges, and the way of a message
// to its callback and its answer. Workers (worker.hpp) drive it, on threads or from dispatch().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "address_space.hpp"
#include "counters.hpp"
#include "epoch.hpp"
#include "event_queue.hpp"
#include "gate.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/served_region.hpp"
#include "waiting_faults.hpp"

namespace uffd::detail {

class worker;

class engine final : public range_owner, public std::enable_shared_from_this<engine> {
 public:
  // `readers` go through its structures: the workers, and the standby if there is one.
  engine(handle on, callbacks client, const fault_handler_options& options, std::size_t readers);
  // The handle, if none is given.
  static handle open(const callbacks& client, const fault_handler_options& options);
  // Whether a handle's features make somebody wait for events to be read.
  static bool has_events(const handle& on) noexcept;

  const handle& on() const noexcept { return own_->on; }
  callbacks default_client() const;
  bool in_child() const noexcept { return home_.in_child(); }
  // Whether installs must not pass events that touch memory.
  bool is_gated() const noexcept { return is_gated_; }
  epoch& readers() noexcept { return epochs_; }
  void record_error(std::exception_ptr error) noexcept;
  // The same where nothing may be allocated. `what` lives for ever.
  void record_failure(const char* what, std::error_code error, page_range page,
                      std::size_t offset) noexcept;
  std::exception_ptr take_error() noexcept;

  // Stopping. Workers ask is_stopping() between faults; the first that sees it closes the ranges.
  // The first request decides the policy; false for later ones.
  bool request_stop(stop_policy policy) noexcept;
  bool is_stopping() const noexcept { return stopping_.load(std::memory_order_relaxed); }
  bool is_closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  void close_once() noexcept;
  // Until the events of forks and moves that began before have been read, by this thread if nobody
  // else does. Five seconds at most.
  void wait_for_forks_under_way() noexcept;
  // When no worker runs any more: lets go of the handler objects, which may own what owns this.
  void release_clients() noexcept;
  // Descriptors written to when there is something to see besides messages.
  void add_nudge(int eventfd) { nudges_.push_back(eventfd); }
  void nudge() const noexcept;

  // engine_ranges.cpp: ranges that come and go.
  served_region serve(page_range where, std::optional<mapping> memory, callbacks client,
                      const serve_options& options);
  void serve_registered(const region_info& registered);
  // Before any worker runs: serves what a predecessor handed over, its children included.
  void take_over(const handed_over& served);
  void end_range(served_range& range) noexcept override;
  handed_over hand_over();

  // engine_faults.cpp: from a message to its answer.
  void dispatch(worker& by, pending_fault& pending, std::uint32_t attempts = 0) noexcept;
  void retry_waiting(worker& by) noexcept;
  void wake_waiting() noexcept;
  bool has_waiting() const noexcept { return waiting_.size() != 0; }
  std::int64_t next_retry() const noexcept { return waiting_.next_due(); }
  bool add_waiting(const pending_fault& pending, std::int64_t due, std::uint32_t attempts) noexcept;
  // Runs an install unless an event touched `range` since the fault was dispatched; then wakes
  // `page`.
  template <class Operation>
  resolution install(const pending_fault& pending, page_range page, page_range range,
                     Operation&& operation) noexcept;
  // Holds the gate shared if it answers true.
  bool enter_gate(const pending_fault& pending, page_range page, page_range range) noexcept;
  // Makes a page that can't be served fail closed, by the kind of its fault.
  resolution fail_closed(const handle& on, const page_fault& event, page_range page,
                         const region_info& region) noexcept;

  // engine_events.cpp: forks, moves, removals.
  // One read(): its events are queued and what they touch recorded before any install goes on; its
  // faults remain to be dispatched.
  std::span<const uapi::message> read(address_space& space,
                                      std::span<uapi::message> buffer) noexcept {
    if (has_events_)
      return is_gated_ ? read_through_gate(space, buffer) : read_alone(space, buffer);
    return read_batch(space, buffer);
  }
  // True if there is nothing to do but to wait for messages.
  bool is_quiet() const noexcept {
    return !has_waiting() && !has_queued_events() && children() == 0 && !epochs_.has_retired() &&
           !is_stopping();
  }
  bool has_queued_events() const noexcept { return events_.unfinished() != 0; }
  // Whether some of them wait for a worker, and not only for one that is at it.
  bool has_idle_events() const noexcept { return !events_.empty() || has_applied_.load(); }
  // Whether a worker is at them, who looks again before it leaves off.
  bool attends_to_events() const noexcept { return attends_to_events_.load(); }
  // How often a message was there and could not be taken; whoever ends gives up after so many.
  std::size_t fruitless_reads() const noexcept { return fruitless_reads_.load(); }
  static constexpr std::size_t most_fruitless_reads = 100;
  void handle_events(worker& by) noexcept;
  bool hands_over() const noexcept {
    return policy_.load(std::memory_order_relaxed) == stop_policy::hand_over;
  }
  std::size_t children() const noexcept { return children_.load(std::memory_order_acquire); }
  int children_poll() const noexcept { return children_poll_.get(); }
  address_space& own_space() noexcept { return *own_; }
  void forget_dead_children() noexcept;

 private:
  void check_features(const fault_handler_options& options) const;
  void check_serve(const callbacks& client, const region_info& info) const;

  void list(const std::shared_ptr<served_range>& range, address_space& space);
  void serve_registered_in(address_space& space, const region_info& registered);
  void unlist(const served_range& range);
  void open_range(served_range& range);
  template <class Change>
  void change_table(address_space& space, Change&& change);
  template <class Each>
  void for_each_space(Each&& each) const;
  template <class PolicyOf>
  void close_in(address_space& space, const served_range& range, PolicyOf&& policy_of) noexcept;
  // With the control lock held, which keeps workers from reading. Reads once and serves nothing:
  // events are queued, and faults wait; those without room until wake_unanswered(). False if
  // nothing was there.
  bool take_in(address_space& space) noexcept;
  void wake_unanswered(address_space& space) noexcept;
  void close_everywhere(served_range& range, close_policy policy) noexcept;
  void close_owned(served_range& range) noexcept;
  void wait_for_callbacks(const served_range& range) noexcept;
  outcome state_of(const address_space& space) const noexcept;

  resolution call(served_range& range, fault& raised) noexcept;
  void settle(worker& by, const pending_fault& pending, fault& raised, resolution answer,
              std::uint32_t attempts) noexcept;
  void wait_for_later(worker& by, const pending_fault& pending, std::int64_t delay,
                      std::uint32_t attempts) noexcept;
  void dispatch_stranger(worker& by, const pending_fault& pending, std::uint32_t attempts) noexcept;
  void fail_stranger(const pending_fault& pending) noexcept;

  std::span<const uapi::message> read_through_gate(address_space& space,
                                                   std::span<uapi::message> buffer) noexcept {
    if (has_queued_events() && !await_room()) [[unlikely]]
      return {};
    return read_urgently(space, buffer);
  }
  // However many are queued.
  std::span<const uapi::message> read_urgently(address_space& space,
                                               std::span<uapi::message> buffer) noexcept;
  // Queues the events of a batch; the faults remain.
  std::span<const uapi::message> take_events_out(address_space& space,
                                                 std::span<uapi::message> messages) noexcept {
    for (const uapi::message& raw : messages)
      if (raw.event != uapi::event::page_fault) [[unlikely]]
        return sort_and_queue(space, messages);
    return messages;
  }
  std::span<const uapi::message> sort_and_queue(address_space& space,
                                                std::span<uapi::message> messages) noexcept;
  std::span<uapi::message> read_batch(const address_space& space,
                                      std::span<uapi::message> buffer) noexcept {
    const auto batch = read_messages(space.descriptor_number, buffer);
    if (batch.number != 0) [[unlikely]]
      report_unreadable(batch.number);
    return buffer.first(batch.count);
  }
  // One reader at a time until its events are queued, or two forks could change places.
  std::span<const uapi::message> read_alone(address_space& space,
                                            std::span<uapi::message> buffer) noexcept {
    const auto before = reading_.exchange(reading::by_one, std::memory_order_acquire);
    if (before != reading::by_nobody && !wait_to_read(before)) [[unlikely]]
      return {};
    const auto bytes = call_read(space.descriptor_number, buffer.data(), buffer.size_bytes());
    if (bytes != sizeof(uapi::message) || buffer.front().event != uapi::event::page_fault)
        [[unlikely]]
      return let_others_read(space, buffer, bytes);
    reading_.store(reading::by_nobody, std::memory_order_release);
    return buffer.first(1);
  }
  std::span<const uapi::message> let_others_read(address_space& space,
                                                 std::span<uapi::message> buffer,
                                                 ssize_t bytes) noexcept;
  enum class reading : std::uint8_t { by_nobody, by_one, held_back };
  bool wait_to_read(reading before) noexcept;
  bool has_room() const noexcept;
  // Events of one process wait for each other far below this; so many mean that nobody handles
  // them.
  static constexpr std::size_t most_events_waiting = 4096;
  bool await_room() noexcept;
  void report_unreadable(int number) noexcept;
  void queue_events(address_space& space, std::span<const uapi::message> events) noexcept;
  // An event whose effect on tables and children took place, and whose callbacks have not run.
  struct applied_event {
    queued_event queued;
    std::vector<std::shared_ptr<served_range>> clients;
    std::shared_ptr<address_space> child;
  };
  std::shared_ptr<address_space> add_child(handle on, std::shared_ptr<const range_table> table);
  void watch_child(address_space& child) noexcept;
  void wait_until_queued() noexcept;
  void apply_events() noexcept;
  void apply_event(const queued_event& queued);
  void note_removal(address_space& space, page_range removed);
  template <class Event>
  void apply_touch(const queued_event& queued, const Event& seen, page_range touched);
  void apply_fork(const queued_event& queued, const fork_event& forked);
  std::optional<applied_event> take_applied() noexcept;
  void call_back(worker& by, const applied_event& applied) noexcept;
  bool tell(worker& by, served_range& range, auto&& call) noexcept;

  const process_mark home_;
  callbacks client_;
  const bool has_events_;
  const bool is_gated_;
  const bool follows_forks_;
  const bool tracks_removals_;
  const std::size_t buffer_size_;
  std::atomic<reading> reading_{reading::by_nobody};  // without the gate

  std::shared_ptr<address_space> own_;
  gate gate_;
  epoch epochs_;
  event_queue events_;
  waiting_faults waiting_;

  mutable std::mutex control_;  // guards tables, lists and what is registered
  std::vector<std::shared_ptr<address_space>> child_spaces_;
  std::vector<std::shared_ptr<served_range>> ranges_;
  std::size_t next_space_ = 1;
  std::deque<applied_event> applied_;
  std::atomic<bool> has_applied_{false};
  std::atomic<bool> attends_to_events_{false};
  unique_fd children_poll_;
  std::optional<mapping> probe_;  // a page that nobody can read
  std::atomic<std::size_t> children_{0};
  std::mutex event_order_;

  std::atomic<stop_policy> policy_;
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> closing_{false};
  std::atomic<bool> closed_{false};
  std::vector<int> nudges_;

  std::mutex error_lock_;
  std::exception_ptr first_error_;
  struct failure {
    const char* what;
    std::error_code error;
    page_range page;
    std::size_t offset;
  };
  std::optional<failure> first_failure_;  // unless first_error_ was first
  std::atomic<int> unreadable_{0};        // errno of a failed read, without an object for it
  std::atomic<std::size_t> fruitless_reads_{0};
  std::atomic<std::size_t> events_read_{0};
};

// With the control lock held: readers see the old table or the new one, and keep what they see.
template <class Change>
void engine::change_table(address_space& space, Change&& change) {
  auto next = std::make_shared<range_table>(*space.current);
  change(*next);
  epoch::place place;
  std::shared_ptr<const range_table> previous = std::exchange(space.current, std::move(next));
  space.table.store(space.current.get(), std::memory_order_seq_cst);
  epochs_.retire(std::move(place), std::move(previous));
}

// With the control lock held.
template <class Each>
void engine::for_each_space(Each&& each) const {
  each(*own_);
  for (const auto& space : child_spaces_) each(*space);
}

// With the control lock held: closes each piece of `range` by `policy_of(its addresses)`. Reads the
// space's events itself: whoever else could may wait for the lock.
template <class PolicyOf>
void engine::close_in(address_space& space, const served_range& range,
                      PolicyOf&& policy_of) noexcept {
  for (const auto& piece : space.current->entries()) {
    if (piece.client != &range) continue;
    region_info info = range.info;
    info.range = piece.range;
    close_range(space.on, info,
                range.complete.load() ? close_policy::leave_zero : policy_of(piece.range),
                [&] { return take_in(space); });
  }
  wake_unanswered(space);
}

template <class Operation>
resolution engine::install(const pending_fault& pending, page_range page, page_range range,
                           Operation&& operation) noexcept {
  if (!is_gated_) [[likely]]
    return operation();
  if (!enter_gate(pending, page, range)) return resolution::gone();
  const resolution result = operation();
  gate_.unlock_shared();
  return result;
}

}  // namespace uffd::detail
