// SPDX-License-Identifier: MIT
// Reading messages, and what forks, moves and removals do.
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "engine.hpp"
#include "uffd/detail/close_range.hpp"
#include "worker.hpp"

namespace uffd::detail {

std::span<const uapi::message> engine::read_through_gate(address_space& space,
                                                         std::span<uapi::message> buffer) noexcept {
  gate_.lock();
  const auto batch = read_messages(space.on.fd(), buffer);
  const auto faults = take_events_out(space, buffer.first(batch.count));
  gate_.unlock();
  if (batch.number != 0) [[unlikely]]
    report_unreadable(batch.number);
  return faults;
}

[[gnu::cold]] std::span<const uapi::message> engine::sort_and_queue(
    address_space& space, std::span<uapi::message> messages) noexcept {
  events_first(messages);
  const auto fault = std::find_if(messages.begin(), messages.end(), [](const uapi::message& raw) {
    return raw.event == uapi::event::page_fault;
  });
  const auto events = static_cast<std::size_t>(fault - messages.begin());
  queue_events(space, messages.first(events));
  return messages.subspan(events);
}

// A full descriptor table (EMFILE) leaves a fork's event where it is: it may pass, and until then
// there is no use in looking at once again.
[[gnu::cold]] void engine::report_unreadable(int number) noexcept {
  record_error(std::make_exception_ptr(
      std::system_error(number, std::system_category(), "reading messages of a userfaultfd")));
  const timespec pause{0, 1'000'000};
  ::nanosleep(&pause, nullptr);
}

// Queued before they are recorded: who sees the new generation finds the event in the queue.
void engine::queue_events(address_space& space, std::span<const uapi::message> events) noexcept {
  for (const uapi::message& raw : events) {
    if (!events_.push({space.shared_from_this(), raw}))
      end_process("more events than can be queued, and no callback returns");
    const event seen = decode(raw, space.features);
    if (const auto* moved = std::get_if<remap_event>(&seen)) {
      gate_.record(&space, moved->from);
      gate_.record(&space, {moved->to, moved->from.size()});
    } else if (const auto* removed = std::get_if<remove_event>(&seen)) {
      gate_.record(&space, removed->range);
    } else if (const auto* unmapped = std::get_if<unmap_event>(&seen)) {
      gate_.record(&space, unmapped->range);
    }
  }
}

// In order and one at a time. Whoever finds another thread at it goes on without waiting; the loop
// makes sure that no event queued meanwhile is left behind.
void engine::handle_events(worker& by) noexcept {
  while (!events_.empty()) {
    const std::unique_lock turn(event_order_, std::try_to_lock);
    if (!turn) return;
    while (const auto queued = events_.pop()) {
      try {
        handle_event(by, *queued);
      } catch (...) {
        // Only memory for a table or a child can have been short, and without them pages would be
        // answered wrongly.
        end_process("out of memory while following an event");
      }
      events_.finish();
      if (auto* counts = by.statistics()) counts->events.add();
    }
  }
  waiting_.make_due();
}

void engine::handle_event(worker& by, const queued_event& queued) {
  address_space& space = *queued.space;
  const event seen = decode(queued.raw, space.features);
  if (const auto* forked = std::get_if<fork_event>(&seen)) {
    handle_fork(by, queued, *forked);
  } else if (const auto* moved = std::get_if<remap_event>(&seen)) {
    handle_touch(by, space, *moved, moved->from);
  } else if (const auto* removed = std::get_if<remove_event>(&seen)) {
    handle_touch(by, space, *removed, removed->range);
  } else if (const auto* unmapped = std::get_if<unmap_event>(&seen)) {
    handle_touch(by, space, *unmapped, unmapped->range);
  }
}

// Runs a callback of `range` unless the range is ending, which then waits for it.
void engine::tell(worker& by, served_range& range, auto&& call) noexcept {
  by.slot().current.store(&range, std::memory_order_seq_cst);
  if (range.phase.load(std::memory_order_seq_cst) == served_range::state::open) {
    try {
      call(range.client);
    } catch (...) {
      record_error(std::current_exception());
    }
  }
  by.slot().current.store(nullptr, std::memory_order_release);
}

namespace {

// One range for each handler object that has a piece in `touched`.
std::vector<std::shared_ptr<served_range>> touched_clients(const range_table& table,
                                                           page_range touched) {
  std::vector<std::shared_ptr<served_range>> found;
  for (const auto& piece : table.entries()) {
    if (!piece.range.overlaps(touched)) continue;
    auto& range = *static_cast<served_range*>(piece.client);
    const bool known = std::any_of(found.begin(), found.end(), [&](const auto& other) {
      return other->client.object == range.client.object;
    });
    if (!known) found.push_back(range.shared_from_this());
  }
  return found;
}

void call_back(const callbacks& client, const remap_event& seen, std::size_t space) {
  if (client.on_remap != nullptr) client.on_remap(client.object, seen, space);
}
void call_back(const callbacks& client, const remove_event& seen, std::size_t space) {
  if (client.on_remove != nullptr) client.on_remove(client.object, seen, space);
}
void call_back(const callbacks& client, const unmap_event& seen, std::size_t space) {
  if (client.on_unmap != nullptr) client.on_unmap(client.object, seen, space);
}

}  // namespace

template <class Event>
void engine::handle_touch(worker& by, address_space& space, const Event& seen, page_range touched) {
  std::vector<std::shared_ptr<served_range>> clients;
  {
    const std::lock_guard lock(control_);
    clients = touched_clients(*space.current, touched);
    if constexpr (requires(range_table & table) { table.apply(seen); })
      change_table(space, [&](range_table& table) { table.apply(seen); });
  }
  for (const auto& range : clients)
    tell(by, *range, [&](const callbacks& client) { call_back(client, seen, space.number); });
  // The kernel wakes nobody who waits where memory was unmapped or moved away.
  if constexpr (!std::is_same_v<Event, remove_event>) static_cast<void>(space.on.wake(touched));
}

// With the control lock held, or before any worker runs.
std::shared_ptr<address_space> engine::add_child(handle on,
                                                 std::shared_ptr<const range_table> table) {
  auto child = std::make_shared<address_space>(std::move(on), next_space_++);
  child->current = std::move(table);
  child->table.store(child->current.get(), std::memory_order_seq_cst);
  child_spaces_.push_back(child);
  children_.fetch_add(1, std::memory_order_release);
  return child;
}

void engine::watch_child(address_space& child) noexcept {
  epoll_event interest{};
  interest.events = EPOLLIN;
  interest.data.ptr = &child;
  if (::epoll_ctl(children_poll_.get(), EPOLL_CTL_ADD, child.on.fd(), &interest) != 0)
    end_process("a forked child's userfaultfd can't be polled");
  nudge();
}

void engine::handle_fork(worker& by, const queued_event& queued, const fork_event& forked) {
  std::vector<std::shared_ptr<served_range>> clients;
  std::shared_ptr<address_space> child;
  {
    const std::lock_guard lock(control_);
    child = add_child(handle_access::child(unique_fd(forked.descriptor), queued.space->features),
                      queued.space->current);
    clients = touched_clients(*child->current, {0, ~std::uintptr_t{0}});
    // What ended while the fork was under way ends in the child too.
    for (const auto& range : ranges_)
      if (range->closed) close_in(*child, *range, [&](page_range) { return range->on_end; });
  }
  for (const auto& range : clients)
    tell(by, *range, [&](const callbacks& client) {
      if (client.on_fork != nullptr) client.on_fork(client.object, forked, child->number);
    });
  watch_child(*child);
}

// No message tells that a child is gone and none names its process, so it is asked: a CONTINUE that
// can't apply (nothing of ours is inherited there) answers ESRCH once its memory is gone.
void engine::forget_dead_children() noexcept {
  const std::lock_guard lock(control_);
  std::erase_if(child_spaces_, [&](const std::shared_ptr<address_space>& child) {
    const auto answer = child->on.continue_(probe_->range());
    if (answer.error() != condition::target_gone) return false;
    ::epoll_ctl(children_poll_.get(), EPOLL_CTL_DEL, child->on.fd(), nullptr);
    children_.fetch_sub(1, std::memory_order_release);
    epochs_.retire(child);
    return true;
  });
}

}  // namespace uffd::detail
