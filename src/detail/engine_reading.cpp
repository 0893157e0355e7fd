// SPDX-License-Identifier: MIT
// Messages read, with the gate or without; their events recorded and queued.
#include <algorithm>
#include <variant>

#include "engine.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/message_reader.hpp"

namespace uffd::detail {

std::span<const uapi::message> engine::read_urgently(address_space& space,
                                                     std::span<uapi::message> buffer) noexcept {
  gate_.lock();
  const auto batch = read_messages(space.descriptor_number, buffer);
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

// After any read but that of one fault: once its events are queued.
std::span<const uapi::message> engine::let_others_read(address_space& space,
                                                       std::span<uapi::message> buffer,
                                                       ssize_t bytes) noexcept {
  const auto batch = batch_of(bytes);
  const auto faults = take_events_out(space, buffer.first(batch.count));
  reading_.store(has_room() ? reading::by_nobody : reading::held_back, std::memory_order_release);
  if (batch.number != 0) report_unreadable(batch.number);
  return faults;
}

// Far more fit: for a batch of each reader, who all may be about to read, and for whoever closes a
// range and can't wait.
bool engine::has_room() const noexcept { return events_.unfinished() < most_events_waiting; }

// Another one reads, which is short: whoever polls comes again if it is not. Or the queue was full.
[[gnu::cold]] bool engine::wait_to_read(reading before) noexcept {
  constexpr int most_tries = 200;
  for (int tries = 0; before == reading::by_one; ++tries) {
    if (tries == most_tries) return false;
    before = reading_.exchange(reading::by_one, std::memory_order_acquire);
  }
  if (before == reading::by_nobody || has_room()) return true;
  reading_.store(reading::held_back, std::memory_order_release);
  static_cast<void>(await_room());
  return false;
}

// With so many events read and not handled, whoever causes more waits for the callbacks.
bool engine::await_room() noexcept {
  if (has_room()) return true;
  fruitless_reads_.fetch_add(1, std::memory_order_relaxed);
  call_sleep(1'000'000);
  return false;
}

// A full descriptor table (EMFILE) leaves a fork's event where it is: it may pass, and until then
// there is no use in looking at once again. Allocates nothing: fork() has the allocator's locks.
[[gnu::cold]] void engine::report_unreadable(int number) noexcept {
  unreadable_.store(number, std::memory_order_relaxed);
  fruitless_reads_.fetch_add(1, std::memory_order_relaxed);
  call_sleep(1'000'000);
}

// Queued before they are recorded: who sees the new generation finds the event in the queue. Where
// so many wait, the same pages dropped twice are told of once.
void engine::queue_events(address_space& space, std::span<const uapi::message> events) noexcept {
  events_read_.fetch_add(events.size(), std::memory_order_relaxed);
  for (const uapi::message& raw : events) {
    const bool is_known =
        raw.event == uapi::event::remove && !has_room() && events_.ends_with_removal(space, raw);
    if (!is_known && !events_.push({space.shared_from_this(), raw}))
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

}  // namespace uffd::detail
