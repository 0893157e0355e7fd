// SPDX-License-Identifier: MIT
// Where each lane is, for who watches it, and the end of the program when something is wrong.
#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace uffd::chaos {

// Written by the lane's thread, read by the watching one.
struct progress {
  const char* program = "chaos";
  std::uint64_t seed = 0;
  std::size_t lane = 0;
  const char* memory = "";
  std::atomic<const char*> server{"none"};
  std::atomic<const char*> operation{"begins"};
  std::atomic<std::uint64_t> life{0};
  std::atomic<std::uint64_t> step{0};
  std::atomic<std::uint64_t> beats{0};  // moves while the lane does
  std::atomic<bool> is_over{false};
  std::atomic<std::uint64_t> operations{0};
  std::atomic<std::uint64_t> faults{0};
  std::atomic<std::uint64_t> forgotten{0};  // pages that forks lost

  // What was done last, for who looks into a failure.
  struct deed {
    std::uint64_t step;
    const char* what;
    std::size_t first, count, to;
    bool variant;
  };
  std::array<deed, 12> last_deeds{};
  std::size_t deeds = 0;

  void did(const deed& done) noexcept { last_deeds[deeds++ % last_deeds.size()] = done; }
  void doing(const char* what) noexcept {
    operation.store(what);
    beats.fetch_add(1);
  }
};

// Allocates nothing, for a fork that hangs holds the allocator's locks.
[[gnu::format(printf, 1, 2)]] inline void say(const char* format, ...) {
  char line[512];
  std::va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  const auto size = length < 0 ? std::size_t{0}
                    : static_cast<std::size_t>(length) >= sizeof line
                        ? sizeof line - 1
                        : static_cast<std::size_t>(length);
  if (::write(STDERR_FILENO, line, size) < 0) return;
}

inline void say_where(const progress& lane) {
  say("%s: lane %zu (%s, %s): life %llu, step %llu, %s\n", lane.program, lane.lane, lane.memory,
      lane.server.load(), static_cast<unsigned long long>(lane.life.load()),
      static_cast<unsigned long long>(lane.step.load()), lane.operation.load());
}
inline void say_deeds(const progress& lane) {
  const auto size = lane.last_deeds.size();
  for (std::size_t i = lane.deeds > size ? lane.deeds - size : 0; i < lane.deeds; ++i) {
    const auto& each = lane.last_deeds[i % size];
    say("chaos: step %llu: %s, %zu places from %zu, to %zu, variant %d\n",
        static_cast<unsigned long long>(each.step), each.what, each.count, each.first, each.to,
        each.variant);
  }
}
inline void say_how_to_replay(const progress& lane) {
  const std::string_view program = lane.program;
  if (program != "chaos")
    return say("%s: replay: %s --seed %llu\n", lane.program, lane.program,
               static_cast<unsigned long long>(lane.seed));
  say("chaos: replay: chaos --seed %llu --lane %zu; with the other lanes: --seed %llu\n",
      static_cast<unsigned long long>(lane.seed), lane.lane,
      static_cast<unsigned long long>(lane.seed));
}

// Ends the program at once: memory is wrong, and others would only add to it.
[[noreturn]] inline void end_wrong(const progress& lane) {
  say_where(lane);
  say_deeds(lane);
  say_how_to_replay(lane);
  ::_exit(EXIT_FAILURE);
}

}  // namespace uffd::chaos
