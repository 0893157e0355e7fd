// SPDX-License-Identifier: MIT
#include "restarts.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <future>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace external_pager {
namespace {

using clock = std::chrono::steady_clock;

// This program again, as `serve SOCKET FILE`, without its last line.
class pager_process {
 public:
  pager_process(std::string socket, std::string file) {
    std::string name = "external_pager";
    std::string command = "serve";
    const std::array<char*, 5> arguments{name.data(), command.data(), socket.data(), file.data(),
                                         nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const int number =
        ::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (number != 0) throw std::system_error(number, std::system_category(), "starting a pager");
  }
  pager_process(const pager_process&) = delete;
  pager_process& operator=(const pager_process&) = delete;
  // Killed, and waited for until nothing of it is left.
  ~pager_process() {
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

 private:
  pid_t pid_ = -1;
};

// So many pages more than were read before.
bool await_pages(const memory_of_file& memory, std::size_t more, const std::future<void>& reader) {
  const auto goal = memory.pages_read() + more;
  while (memory.pages_read() < goal) {
    if (reader.wait_for(std::chrono::microseconds(50)) == std::future_status::ready) return false;
  }
  return true;
}

}  // namespace

uffd::latency_histogram read_and_kill(memory_of_file& memory, const std::string& socket,
                                      const std::string& file, unsigned kills) {
  std::atomic<bool> enough{false};
  auto reader = std::async(std::launch::async, [&] {
    for (;;) {
      memory.compare_all();
      if (enough) return;
      memory.drop_all();
    }
  });
  // If this fails, the reader ends the program once no pager has come in time.
  uffd::latency_histogram pauses;
  std::optional<pager_process> pager(std::in_place, socket, file);
  for (unsigned killed = 0; killed < kills; ++killed) {
    if (!await_pages(memory, 1 + killed % 7, reader)) break;
    const auto moment = clock::now();
    pager.emplace(socket, file);  // when nothing is left of the one before
    // The first may have been installed already when that was killed.
    if (!await_pages(memory, 2, reader)) break;
    pauses.record(clock::now() - moment);
  }
  enough = true;
  reader.get();
  return pauses;
}

}  // namespace external_pager
