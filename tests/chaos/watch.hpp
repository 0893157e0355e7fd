// SPDX-License-Identifier: MIT
// Ends the program when a lane hangs, and says where everybody is.
#pragma once

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <thread>
#include <vector>

#include "progress.hpp"

namespace uffd::chaos {

// A little before ctest would end it without a word.
inline constexpr std::chrono::seconds patience{UFFDPP_TEST_TIMEOUT / 2};

namespace detail {

// One line of a thread's file in /proc, without the allocator, which may be locked.
inline void say_file(const char* thread, const char* file) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%s/%s", thread, file);
  char text[256] = "";
  const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
  const auto size = descriptor < 0 ? 0 : ::read(descriptor, text, sizeof text - 1);
  if (descriptor >= 0) ::close(descriptor);
  text[size > 0 ? size : 0] = '\0';
  for (char* each = text; *each != '\0'; ++each)
    if (*each == '\n') *each = ' ';
  say("  %s: %s", file, text);
}

struct directory_entry {
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t length;
  std::uint8_t type;
  char name[1];
};

// What each thread waits in.
inline void say_threads() {
  const int folder = ::open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  alignas(directory_entry) char entries[4096];
  for (long size = 0; (size = ::syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0;) {
    for (long at = 0; at < size;) {
      const auto* const entry = reinterpret_cast<const directory_entry*>(entries + at);
      at += entry->length;
      if (entry->name[0] == '.') continue;
      say("chaos: thread %s", entry->name);
      for (const char* file : {"comm", "wchan", "syscall"}) say_file(entry->name, file);
      say("\n");
    }
  }
  ::close(folder);
}

}  // namespace detail

// Returns when all lanes are over, which they are told at `end`.
inline void watch(std::span<progress* const> lanes, std::chrono::steady_clock::time_point end,
                  std::atomic<bool>& is_over) {
  using clock = std::chrono::steady_clock;
  struct sight {
    std::uint64_t beats = 0;
    clock::time_point since = clock::now();
  };
  std::vector<sight> seen(lanes.size());
  for (bool some_live = true; some_live;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto now = clock::now();
    if (now >= end) is_over.store(true);
    some_live = false;
    for (std::size_t i = 0; i < lanes.size(); ++i) {
      const auto beats = lanes[i]->beats.load();
      if (beats != seen[i].beats) seen[i] = {beats, now};
      if (lanes[i]->is_over.load()) continue;
      some_live = true;
      if (now - seen[i].since < patience) continue;
      say("chaos: lane %zu hangs\n", lanes[i]->lane);
      for (const auto* each : lanes) say_where(*each);
      detail::say_threads();
      say_how_to_replay(*lanes[i]);
      ::_exit(EXIT_FAILURE);
    }
  }
}

}  // namespace uffd::chaos
