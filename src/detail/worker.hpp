// SPDX-License-Identifier: MIT
// One reader of messages: waits, reads, dispatches. A thread's whole life, or one turn of
// dispatch().
#pragma once

#include <poll.h>
#include <time.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "counters.hpp"
#include "engine.hpp"
#include "epoch.hpp"
#include "standby.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/mapping.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

// For poll: a duration in nanoseconds.
inline timespec to_timespec(std::int64_t nanoseconds) noexcept {
  return {nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
}

class worker {
 public:
  // Throws std::system_error if its buffer or eventfd can't be had. `index` is its reader's slot.
  // `workers` share the descriptor; `standby` (may be null) must be woken by turns.
  worker(engine& owner, std::size_t index, const fault_handler_options& options,
         std::size_t workers, standby* standby);

  // Serves until the engine is closed; the thread's body.
  void run() noexcept;
  // Reads what nobody serves any more, so that nobody waits for it; after the last run() too.
  void finish() noexcept;
  // Serves once what is there, without waiting.
  void dispatch_once() noexcept;
  // How long to wait at most before the next turn, in nanoseconds; negative: without end.
  std::int64_t wait_limit() const noexcept;
  // Readable when the engine has something to see besides messages.
  int nudge_descriptor() const noexcept { return nudge_.get(); }

  std::span<std::byte> buffer() const noexcept { return buffer_.bytes(); }
  reader_slot& slot() noexcept { return slot_; }
  // Null unless statistics were asked for.
  counters* statistics() const noexcept { return statistics_.get(); }
  // Whether this thread is it, or does its last work.
  bool is_current() const noexcept { return current_slot() == &slot_; }
  // The slot of the worker that this thread is, or null.
  static const reader_slot* current_slot() noexcept;

 private:
  struct readiness {
    bool own;
    bool children;

    bool any() const noexcept { return own || children; }
  };
  bool turn_quietly() noexcept;
  bool turn_with_chores() noexcept;
  readiness look(nfds_t count, int ready) noexcept;
  readiness look_now() noexcept;
  static void never_block(int descriptor) noexcept;
  void turn(readiness ready) noexcept;
  void wait_for_forks() noexcept;
  void do_chores(bool children_ready) noexcept;
  void sweep() noexcept;
  void read(address_space& space) noexcept;
  std::int64_t count_read(bool empty) noexcept;
  void read_children() noexcept;

  engine& engine_;
  reader_slot& slot_;
  standby* const standby_;
  const bool busy_polling_;
  const bool sweeps_;  // this one looks for children that died
  std::size_t batch_;
  std::int64_t next_sweep_ = 0;
  mapping buffer_;
  unique_fd nudge_;
  std::unique_ptr<counters> statistics_;
  std::array<pollfd, 3> entries_;  // messages, nudges, children's messages
  std::array<uapi::message, message_reader::capacity> messages_{};
};

}  // namespace uffd::detail
