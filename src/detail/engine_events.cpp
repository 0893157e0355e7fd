// SPDX-License-Identifier: MIT
// What forks, moves and removals do, and their callbacks.
#include <sys/epoll.h>

#include <algorithm>
#include <thread>
#include <type_traits>
#include <vector>

#include "engine.hpp"
#include "uffd/detail/close_range.hpp"
#include "worker.hpp"

namespace uffd::detail {

// Callbacks run in order and one at a time. Whoever finds another thread at it goes on without
// waiting; the loop makes sure that no event queued meanwhile is left behind.
void engine::handle_events(worker& by) noexcept {
  bool some = false;
  while (has_idle_events()) {
    const std::unique_lock turn(event_order_, std::try_to_lock);
    if (!turn) break;
    attends_to_events_.store(true);
    while (const auto applied = take_applied()) {
      call_back(by, *applied);
      events_.finish();
      some = true;
      if (auto* counts = by.statistics()) counts->events.add();
    }
    attends_to_events_.store(false);
  }
  if (some) waiting_.make_due();
}

std::optional<engine::applied_event> engine::take_applied() noexcept {
  const std::lock_guard lock(control_);
  apply_events();
  if (applied_.empty()) return std::nullopt;
  std::optional<applied_event> first(std::move(applied_.front()));
  applied_.pop_front();
  has_applied_.store(!applied_.empty());
  return first;
}

// Whoever caused an event goes on at the read, a moment before it is queued.
void engine::wait_until_queued() noexcept {
  if (is_gated_) return gate_.wait_for_writer();
  while (reading_.load(std::memory_order_acquire) == reading::by_one) std::this_thread::yield();
}

// With the control lock held, by whoever looks at tables: who caused an event has gone on since it
// was read, and may have mapped, served or ended something else there.
void engine::apply_events() noexcept {
  wait_until_queued();
  while (!events_.empty()) {
    has_applied_.store(true);  // first: whoever finds the queue empty must see that there are some
    const auto queued = events_.pop();
    try {
      apply_event(*queued);
    } catch (...) {
      // Only memory for a table or a child can have been short, and without them pages would be
      // answered wrongly.
      end_process("out of memory while following an event");
    }
  }
  has_applied_.store(!applied_.empty());
}

void engine::apply_event(const queued_event& queued) {
  const event seen = decode(queued.raw, queued.space->features);
  if (const auto* forked = std::get_if<fork_event>(&seen))
    apply_fork(queued, *forked);
  else if (const auto* moved = std::get_if<remap_event>(&seen))
    apply_touch(queued, *moved, moved->from);
  else if (const auto* removed = std::get_if<remove_event>(&seen))
    apply_touch(queued, *removed, removed->range);
  else if (const auto* unmapped = std::get_if<unmap_event>(&seen))
    apply_touch(queued, *unmapped, unmapped->range);
  else
    applied_.push_back({queued, {}, nullptr});
}

namespace {

// A successor hears nothing of what was read before it.
bool hears_events(const served_range& range) noexcept {
  const auto phase = range.phase.load(std::memory_order_seq_cst);
  return phase == served_range::state::open || phase == served_range::state::handed_over;
}

}  // namespace

// Runs a callback of `range`, which waits for that at its end, unless it is ending: then false.
bool engine::tell(worker& by, served_range& range, auto&& call) noexcept {
  by.slot().current.store(&range, std::memory_order_seq_cst);
  const bool hears = hears_events(range);
  if (hears) {
    try {
      call(range.client);
    } catch (...) {
      record_error(std::current_exception());
    }
  }
  by.slot().current.store(nullptr, std::memory_order_release);
  return hears;
}

namespace {

// The ranges that have a piece in `touched`.
std::vector<std::shared_ptr<served_range>> touched_ranges(const range_table& table,
                                                          page_range touched) {
  std::vector<std::shared_ptr<served_range>> found;
  for (const auto& piece : table.entries()) {
    if (!piece.range.overlaps(touched)) continue;
    auto range = static_cast<served_range*>(piece.client)->shared_from_this();
    if (std::find(found.begin(), found.end(), range) == found.end())
      found.push_back(std::move(range));
  }
  return found;
}

void call_for(const callbacks& client, const event& seen, std::size_t space) {
  const auto call = [&](auto* callback, const auto& what) {
    if (callback != nullptr) callback(client.object, what, space);
  };
  if (const auto* forked = std::get_if<fork_event>(&seen)) call(client.on_fork, *forked);
  if (const auto* moved = std::get_if<remap_event>(&seen)) call(client.on_remap, *moved);
  if (const auto* removed = std::get_if<remove_event>(&seen)) call(client.on_remove, *removed);
  if (const auto* unmapped = std::get_if<unmap_event>(&seen)) call(client.on_unmap, *unmapped);
}

}  // namespace

// Each handler object hears an event once, however many of its ranges it touches.
void engine::call_back(worker& by, const applied_event& applied) noexcept {
  const event seen = decode(applied.queued.raw, applied.queued.space->features);
  const auto& space = applied.child ? *applied.child : *applied.queued.space;
  std::vector<const void*> told;
  for (const auto& range : applied.clients) {
    const void* const object = range->client.object;
    if (std::find(told.begin(), told.end(), object) != told.end()) continue;
    if (tell(by, *range, [&](const callbacks& client) { call_for(client, seen, space.number); }))
      told.push_back(object);
  }
}

// Of huge pages only whole ones are dropped, whatever the event says.
void engine::note_removal(address_space& space, page_range removed) {
  const auto pieces = space.current->entries();
  const bool is_news = std::any_of(pieces.begin(), pieces.end(), [&](const auto& piece) {
    return !piece.removed && piece.range.overlaps(removed);
  });
  if (!is_news) return;
  change_table(space, [&](range_table& table) {
    for (const auto& piece : pieces) {
      const auto page = static_cast<const served_range*>(piece.client)->info.page_size;
      const auto part = piece.range.intersection(removed);
      table.apply(
          remove_event{range_between(align_up(part.begin(), page), align_down(part.end(), page))});
    }
  });
}

template <class Event>
void engine::apply_touch(const queued_event& queued, const Event& seen, page_range touched) {
  address_space& space = *queued.space;
  auto clients = touched_ranges(*space.current, touched);
  if constexpr (std::is_same_v<Event, remove_event>) {
    if (tracks_removals_) note_removal(space, touched);
  } else {
    change_table(space, [&](range_table& table) {
      if constexpr (std::is_same_v<Event, remap_event>)
        table.apply(seen, space.features.has(feature::event_unmap));
      else
        table.apply(seen);
    });
    // The kernel wakes nobody who waits where memory was unmapped or moved away.
    static_cast<void>(space.on.wake(touched));
    // What moved away from its end is ended where it is now.
    for (const auto& range : clients)
      if (range->closed_by) close_in(space, *range, [&](page_range) { return *range->closed_by; });
  }
  applied_.push_back({queued, std::move(clients), nullptr});
}

// With the control lock held, or before any worker runs.
std::shared_ptr<address_space> engine::add_child(handle on,
                                                 std::shared_ptr<const range_table> table) {
  auto child = std::make_shared<address_space>(std::move(on), next_space_++);
  child->current = std::move(table);
  child->table.store(child->current.get(), std::memory_order_seq_cst);
  child_spaces_.push_back(child);
  children_.fetch_add(1, std::memory_order_release);
  watch_child(*child);
  return child;
}

void engine::watch_child(address_space& child) noexcept {
  epoll_event interest{};
  interest.events = EPOLLIN;
  interest.data.ptr = &child;
  if (::epoll_ctl(children_poll_.get(), EPOLL_CTL_ADD, child.descriptor_number, &interest) != 0)
    end_process("a forked child's userfaultfd can't be polled");
  nudge();
}

void engine::apply_fork(const queued_event& queued, const fork_event& forked) {
  auto child = add_child(handle_access::child(unique_fd(forked.descriptor), queued.space->features),
                         queued.space->current);
  auto clients = touched_ranges(*child->current, {0, ~std::uintptr_t{0}});
  // What ended while the fork was under way ends in the child too.
  for (const auto& range : clients)
    if (range->closed_by) close_in(*child, *range, [&](page_range) { return *range->closed_by; });
  applied_.push_back({queued, std::move(clients), std::move(child)});
}

// No message tells that a child is gone and none names its process, so it is asked.
void engine::forget_dead_children() noexcept {
  const std::lock_guard lock(control_);
  std::erase_if(child_spaces_, [&](const std::shared_ptr<address_space>& child) {
    if (state_of(*child).error() != condition::target_gone) return false;
    ::epoll_ctl(children_poll_.get(), EPOLL_CTL_DEL, child->descriptor_number, nullptr);
    children_.fetch_sub(1, std::memory_order_release);
    epochs_.retire(child);
    return true;
  });
}

}  // namespace uffd::detail
