// SPDX-License-Identifier: MIT
// A thread that touches one address, which may take until somebody serves the page.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "support/asleep.hpp"
#include "support/background.hpp"
#include "support/patience.hpp"
#include "support/sight.hpp"

namespace uffd::test {

//   toucher reader(memory.begin());            // or toucher writer(memory.begin(), 0x5A)
//   EXPECT_TRUE(reader.waits());               // nobody has served it
//   on.copy(...);
//   EXPECT_EQ(reader.saw(), shows(0x5A));      // waits for it, with a time limit
class toucher {
 public:
  // Reads the byte there.
  explicit toucher(std::uintptr_t address) : thread_([=, this] { seen_ = look(address); }) {}
  // Writes a byte there.
  toucher(std::uintptr_t address, int value)
      : thread_([=, this] { seen_ = try_write(address, value); }) {}

  // True if its fault was raised, and the access isn't over within a moment.
  bool waits() { return thread_.blocks(waits_in_fault); }
  // True once the access is over; waits for that.
  bool finishes(std::chrono::milliseconds limit = patience) { return thread_.finishes(limit); }
  // What it read or wrote, or the signal it took; nothing if it hangs.
  std::optional<sight> saw() { return finishes() ? std::optional(seen_) : std::nullopt; }

  pid_t thread_id() { return thread_.thread_id(); }

 private:
  sight seen_;
  background thread_;
};

}  // namespace uffd::test
