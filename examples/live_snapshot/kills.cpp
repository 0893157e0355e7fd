// SPDX-License-Identifier: MIT
#include "kills.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uffd/tracking/snapshot_file.hpp>
#include <uffd/unique_fd.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <random>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "loading.hpp"

namespace live_snapshot {
namespace {

[[noreturn]] void fail(int number, const char* what) {
  throw std::system_error(number, std::system_category(), what);
}

// This program again, and what it prints.
class saving_process {
 public:
  explicit saving_process(std::vector<std::string> arguments) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(errno, "pipe2");
    output_.reset(ends[0]);
    const uffd::unique_fd input(ends[1]);
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (auto& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDOUT_FILENO);
    const int number =
        ::posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, pointers.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (number != 0) fail(number, "starting a process that saves");
  }
  saving_process(const saving_process&) = delete;
  saving_process& operator=(const saving_process&) = delete;
  ~saving_process() { end(); }

  // Throws std::runtime_error if it had ended by itself.
  void kill() {
    if (const int status = end(); !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
      throw std::runtime_error("a process that saves failed");
  }

  // One more piece of what it prints; empty at the end of it.
  std::string read() const {
    std::array<char, 4096> piece{};
    const auto size = ::read(output_.get(), piece.data(), piece.size());
    if (size < 0) fail(errno, "reading what a process says");
    return {piece.data(), static_cast<std::size_t>(size)};
  }

 private:
  int end() noexcept {
    int status = 0;
    if (pid_ < 0) return status;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  pid_t pid_ = -1;
  uffd::unique_fd output_;
};

std::vector<std::string> split(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::string> all;
  for (std::string word; words >> word;) all.push_back(word);
  return all;
}

// The files of which a whole line tells.
std::vector<std::string> names_in(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t begin = 0;;) {
    const auto end = text.find('\n', begin);
    if (end == std::string::npos) return names;
    names.push_back(text.substr(begin, text.find(':', begin) - begin));
    begin = end + 1;
  }
}

// Whether a file is a snapshot. Throws std::system_error unless it is one that was being written,
// which may be without a single byte yet: what has its name must be complete.
bool is_complete(const std::filesystem::path& path) {
  try {
    static_cast<void>(uffd::snapshot_file::open(path));
    return true;
  } catch (const std::system_error& error) {
    const bool is_begun = error.code() == uffd::snapshot_error::incomplete ||
                          error.code() == uffd::snapshot_error::truncated;
    if (!is_begun || path.extension() != ".new") throw;
    return false;
  }
}

}  // namespace

std::vector<std::string> kill_while_saving(const std::filesystem::path& folder,
                                           const std::string& arguments, unsigned seed) {
  std::vector<std::string> all{"live_snapshot", "--folder",   folder.string(),
                               "--snapshots",   "1000000000", "--unchecked"};
  const auto more = split(arguments);
  all.insert(all.end(), more.begin(), more.end());
  // Other moments with each seed: NOLINTNEXTLINE(cert-msc*)
  std::minstd_rand random(seed);
  saving_process saving(std::move(all));
  auto text = saving.read();
  std::this_thread::sleep_for(std::chrono::microseconds(random() % 200'000));
  saving.kill();
  for (auto piece = text; !piece.empty();) {
    piece = saving.read();
    text += piece;
  }
  auto names = names_in(text);
  if (names.empty()) throw std::runtime_error("a process ended without any snapshot");
  return names;
}

outcome check_folder(const std::filesystem::path& folder, const std::vector<std::string>& complete,
                     const examples::pair_table_shape& shape, bool lazily) {
  check_file(folder / complete.back(), shape, lazily);
  outcome found{complete.size(), 0};
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (std::find(complete.begin(), complete.end(), name) != complete.end()) continue;
    if (is_complete(entry.path())) {
      check_file(entry.path(), shape, lazily);
      ++found.complete;
    } else {
      ++found.refused;
    }
  }
  return found;
}

}  // namespace live_snapshot
