// SPDX-License-Identifier: MIT
// Waiting for messages, with a time limit.
#pragma once

#include <poll.h>

#include <chrono>
#include <optional>
#include <variant>
#include <vector>

#include "support/patience.hpp"
#include "uffd/handle.hpp"
#include "uffd/message.hpp"
#include "uffd/message_reader.hpp"

namespace uffd::test {

// True once the descriptor can be read; waits for that.
inline bool readable(int descriptor, std::chrono::milliseconds limit = patience) {
  pollfd entry{descriptor, POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(limit.count())) == 1 && (entry.revents & POLLIN) != 0;
}

// The events of one batch; waits for some, none if none came. Closes the descriptors of children.
inline std::vector<event> read_events(const handle& on,
                                      std::chrono::milliseconds limit = patience) {
  message_reader reader(on);
  const auto deadline = std::chrono::steady_clock::now() + limit;
  // Readable and yet empty is normal: a fault may have been resolved, or withdrawn by a signal.
  for (auto left = limit; left.count() >= 0 && readable(on.fd(), left);
       left = std::chrono::duration_cast<std::chrono::milliseconds>(
           deadline - std::chrono::steady_clock::now())) {
    const auto batch = reader.read();
    if (!batch.empty()) return {batch.begin(), batch.end()};
  }
  return {};
}

// The next event if it is an Event; nothing if another came, more than one, or none in time.
template <class Event>
std::optional<Event> next(const handle& on, std::chrono::milliseconds limit = patience) {
  const auto events = read_events(on, limit);
  if (events.size() != 1 || !std::holds_alternative<Event>(events.front())) return std::nullopt;
  return std::get<Event>(events.front());
}

// `const auto fault = next_fault(on); ASSERT_TRUE(fault);`
inline std::optional<page_fault> next_fault(const handle& on) { return next<page_fault>(on); }

}  // namespace uffd::test
