// SPDX-License-Identifier: MIT
// Things that must happen in another process.
#pragma once

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <ostream>
#include <type_traits>
#include <utility>

namespace uffd::test {

// How a process ended: its exit code, or the signal that ended it.
struct ending {
  int code = 0;
  int signal = 0;

  friend bool operator==(ending, ending) = default;
  friend std::ostream& operator<<(std::ostream& out, ending end) {
    if (end.signal != 0) return out << "killed by SIG" << ::sigabbrev_np(end.signal);
    return out << "exit code " << end.code;
  }
};
inline constexpr ending exits_with(int code) { return {code, 0}; }
inline constexpr ending dies_of(int signal) { return {0, signal}; }

namespace detail {

// A process has signal handlers of its own: a crash must end the child, not confuse a sanitizer.
template <class Body>
[[noreturn]] void run_child(Body& body) {
  ::signal(SIGSEGV, SIG_DFL);
  ::signal(SIGBUS, SIG_DFL);
  ::signal(SIGABRT, SIG_DFL);
  ::alarm(UFFDPP_TEST_TIMEOUT / 2);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  int code = 0;
  try {
    if constexpr (std::is_void_v<decltype(body())>)
      body();
    else
      code = static_cast<int>(body());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "forked: %s\n", error.what());
    code = 99;
  }
  std::fflush(nullptr);
  ::_exit(code);
}

}  // namespace detail

// Runs `body` in a forked child; what it returns is the exit code (99: it threw). gtest's
// assertions count only in the parent: answer with codes. Ends the child if it still runs at its
// own end.
class forked {
 public:
  template <class Body>
  explicit forked(Body body) : pid_(fork_flushed()) {
    if (pid_ == 0) detail::run_child(body);
  }
  forked(const forked&) = delete;
  forked& operator=(const forked&) = delete;
  ~forked() {
    if (pid_ <= 0) return;
    kill();
    wait();
  }

  pid_t pid() const { return pid_; }
  void kill(int signal = SIGKILL) const { ::kill(pid_, signal); }

  // Waits until it has ended; the child gives itself 30 seconds (SIGALRM).
  ending wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFSIGNALED(status) ? dies_of(WTERMSIG(status)) : exits_with(WEXITSTATUS(status));
  }

 private:
  // What is still in a buffer would be printed twice.
  static pid_t fork_flushed() {
    std::fflush(nullptr);
    return ::fork();
  }

  pid_t pid_;
};

// EXPECT_EQ(in_child([&] { return memory[0] == 0 ? 0 : 1; }), exits_with(0));
template <class Body>
ending in_child(Body body) {
  return forked(std::move(body)).wait();
}

}  // namespace uffd::test
