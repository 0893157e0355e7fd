// SPDX-License-Identifier: MIT
// Whether a thread of this process sleeps, and in what: what follows must not depend on luck.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace uffd::test {

inline std::string line_of_thread(pid_t thread, const std::string& file) {
  std::string line;
  std::getline(std::ifstream("/proc/self/task/" + std::to_string(thread) + "/" + file), line);
  return line;
}

// Its state, as ps shows it: R runs, S sleeps until woken or signalled, D where at most SIGKILL
// reaches it. A space if there is no such thread.
inline char state_of(pid_t thread) {
  const auto line = line_of_thread(thread, "stat");
  const auto name_end = line.rfind(") ");
  return name_end == std::string::npos || name_end + 2 >= line.size() ? ' ' : line[name_end + 2];
}

inline bool sleeps(pid_t thread) {
  const char state = state_of(thread);
  return state == 'S' || state == 'D';
}

// Whether all threads of this process but this one sleep: then those just started have begun.
inline bool others_sleep() {
  std::error_code ended_meanwhile;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ended_meanwhile)) {
    const pid_t thread = std::stoi(task.path().filename());
    if (thread != ::gettid() && state_of(thread) == 'R') return false;
  }
  return true;
}

// Waiting for somebody to read an event: fork, madvise, munmap and mremap do.
inline bool waits_for_reader(pid_t thread) { return state_of(thread) == 'D'; }

// Waiting for somebody to serve a page that it touched, its message sent: asleep, and not in a
// system call.
inline bool waits_in_fault(pid_t thread) {
  const auto call = line_of_thread(thread, "syscall");
  return state_of(thread) == 'S' && (call.empty() || call.starts_with("-1 "));
}

}  // namespace uffd::test
