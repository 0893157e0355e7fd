// SPDX-License-Identifier: MIT
// A forked child whose memory is served through a handle of its own.
#pragma once

#include <unistd.h>

#include <optional>
#include <utility>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "uffd/handle.hpp"
#include "uffd/message_reader.hpp"

namespace uffd::test {

// Forks a child, in which `body` runs, and takes its handle from the fork event of `on` (opened
// with feature::event_fork). Ends the child at its own end.
class followed_child {
 public:
  // A child that sleeps until it, or this process, is ended.
  explicit followed_child(const handle& on)
      : followed_child(on, [parent = ::getpid()] {
          while (::getppid() == parent) ::usleep(20'000);
        }) {}
  template <class Body>
  followed_child(const handle& on, Body body) {
    // fork() itself waits until its event is read.
    background forker([&] { process_.emplace(std::move(body)); });
    message_reader reader(on);
    while (!handle_ && readable(on.fd())) {
      auto batch = reader.read();
      for (const auto& event : batch)
        if (const auto* forked_event = std::get_if<fork_event>(&event))
          handle_.emplace(batch.take(*forked_event));
    }
  }

  // The handle of the child's memory. Throws std::bad_optional_access if no event came.
  const handle& on() const { return handle_.value(); }
  forked& process() { return process_.value(); }

  // Ends the child; its memory is gone when this returns.
  void end() {
    process().kill();
    process().wait();
  }

 private:
  std::optional<forked> process_;
  std::optional<handle> handle_;
};

}  // namespace uffd::test
