// SPDX-License-Identifier: MIT
// The handler's side of memory that is tracked synchronously: what a fault does.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "tracking/write_states.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/error.hpp"
#include "uffd/fault.hpp"
#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

using write_callback = std::function<void(page_range)>;
// One for all that a tracker tracks; nothing if there is none.
using shared_write_callback = std::shared_ptr<const write_callback>;

// Shared by the handler, which serves faults by it, and by who collects.
class trapped_writes {
 public:
  // Throws std::system_error.
  trapped_writes(handle on, page_range memory, std::size_t page,
                 shared_write_callback before_write);

  resolution serve(fault& raised) noexcept;

  // Nothing is tracked any more: the first error is what who collects is told. Lets all writes
  // through.
  void fail(std::exception_ptr error) noexcept;
  // The same where nothing is registered any more.
  void end(std::exception_ptr error) noexcept;
  void rethrow_error() const;

  const handle& on() const noexcept { return on_; }
  page_range memory() const noexcept { return memory_; }
  std::size_t page_size() const noexcept { return page_size_; }
  page_range page(std::size_t index, std::size_t count = 1) const noexcept {
    return {memory_.begin() + index * page_size_, count * page_size_};
  }
  write_states& states() noexcept { return states_; }

 private:
  bool is_elsewhere(const fault& raised) const noexcept;
  resolution serve_held(fault& raised, std::size_t index, write_state before) noexcept;
  resolution serve_shown(fault& raised, std::size_t index) noexcept;
  resolution open(fault& raised, std::size_t index, write_phase before) noexcept;
  void show(page_range page, std::size_t index) noexcept;
  resolution give_up(fault& raised, int number) noexcept;

  const handle on_;
  const page_range memory_;
  const std::size_t page_size_;
  const shared_write_callback before_write_;
  write_states states_;
  std::atomic<bool> has_failed_{false};
  mutable std::mutex error_lock_;
  std::exception_ptr error_;
};

// What a handler calls. Its end is that of the handler, or of what is tracked.
class trapping_client {
 public:
  explicit trapping_client(std::shared_ptr<trapped_writes> by) noexcept : by_(std::move(by)) {}
  trapping_client(trapping_client&&) noexcept = default;
  trapping_client& operator=(trapping_client&&) = delete;
  ~trapping_client();

  resolution operator()(fault& raised) const noexcept { return by_->serve(raised); }

 private:
  std::shared_ptr<trapped_writes> by_;
};

// False when it was long enough.
bool wait_for_events(patience& left) noexcept;

// Repeats an ioctl while an event is unread (EAGAIN), for some seconds at most.
template <class Operation>
outcome in_spite_of_events(const handle& on, Operation&& operation) noexcept {
  outcome done = operation();
  if (done.number != EAGAIN) [[likely]]
    return done;
  patience left(on);
  while (done.number == EAGAIN && wait_for_events(left)) done = operation();
  return done;
}

}  // namespace uffd::detail
