// SPDX-License-Identifier: MIT
// The reader that is always free: runs no callback and allocates nothing, so that whoever waits for
// an event to be read (fork() with the allocator's locks, say) never waits for a callback.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine.hpp"
#include "epoch.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

class standby {
 public:
  // `index` is its reader's slot; those below it are the workers'. Throws std::system_error.
  standby(engine& owner, std::size_t index);

  // Reads whenever every worker stays inside one turn from one look to the next; the thread's body.
  void run() noexcept;
  // Once no worker runs any more: until then one may need it.
  void end() noexcept;
  // A worker's turn begins: after an idle time the ticks begin anew.
  void wake_if_asleep() noexcept {
    if (asleep_.load(std::memory_order_seq_cst)) [[unlikely]]
      wake();
  }

 private:
  void wake() noexcept;
  void sleep(bool deeply, long tick) noexcept;
  bool all_idle() const noexcept;
  enum class sighting { moving, busy, stuck, idle };
  sighting look_at_workers() noexcept;
  void drain() noexcept;
  void read(address_space& space) noexcept;

  engine& engine_;
  reader_slot& slot_;
  unique_fd nudge_;
  std::atomic<bool> asleep_{false};
  std::atomic<bool> over_{false};
  std::vector<std::uint64_t> seen_turns_;
  std::array<uapi::message, message_reader::capacity> messages_{};
};

}  // namespace uffd::detail
