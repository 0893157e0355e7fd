// SPDX-License-Identifier: MIT
#include "by_fork.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uffd/mapping.hpp>
#include <uffd/unique_fd.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <mutex>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>

namespace fork_versus_snapshot {
namespace {

using clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::system_category(), what);
}

bool write_all(int to, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const auto done = ::write(to, bytes.data(), bytes.size());
    if (done <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return true;
}

bool copy_text(const char* from, int to) noexcept {
  const int file = ::open(from, O_RDONLY | O_CLOEXEC);
  std::array<std::byte, 4096> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  for (;;) {
    const auto size = ::read(file, buffer.data(), buffer.size());
    if (size <= 0) return size == 0;
    if (!write_all(to, std::span(buffer).first(static_cast<std::size_t>(size)))) return false;
  }
}

// A child of a process with threads: only what a signal handler may do, too. Its memory is told
// last, when most of it is there twice.
[[noreturn]] void save_in_child(std::span<const std::byte> memory, int file, int report) noexcept {
  const bool saved = write_all(file, memory) && ::fsync(file) == 0 &&
                     copy_text("/proc/self/smaps_rollup", report) &&
                     copy_text("/proc/self/status", report);
  ::_exit(saved ? 0 : 1);
}

std::string read_all(int from) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const auto size = ::read(from, buffer.data(), buffer.size());
    if (size < 0) fail("reading what the child says");
    if (size == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(size));
  }
}

// Lines of `name:  value kB`.
double bytes_of(const std::string& name, const std::string& text) {
  const auto found = text.find("\n" + name + ":");
  if (found == std::string::npos) throw std::runtime_error("the kernel does not tell " + name);
  std::istringstream line(text.substr(found + name.size() + 2));
  double kilobytes = 0;
  line >> kilobytes;
  return kilobytes * 1024;
}

measurement save(const std::filesystem::path& path, std::span<const std::byte> memory,
                 examples::table_writers& writers) {
  measurement result;
  result.before = usual_rate(writers);
  const uffd::unique_fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) fail(path.c_str());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("pipe2");
  const uffd::unique_fd output(ends[0]);
  uffd::unique_fd input(ends[1]);

  const stopwatch watch(writers);
  std::unique_lock still(writers.gate());
  const auto begin = clock::now();
  const auto child = ::fork();
  if (child == 0) save_in_child(memory, file.get(), input.get());
  result.pause = milliseconds(clock::now() - begin);
  still.unlock();
  if (child < 0) fail("fork");
  input.reset();
  const auto text = read_all(output.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  watch.read(result);
  if (status != 0) throw std::runtime_error("the child could not save the table");
  result.extra =
      bytes_of("Private_Dirty", text) + bytes_of("Private_Clean", text) + bytes_of("VmPTE", text);
  return result;
}

void check(const std::filesystem::path& path, const examples::pair_table_shape& shape) {
  const auto memory = uffd::mapping::anonymous(shape.bytes());
  const auto all = memory.bytes();
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(all.data()), static_cast<std::streamsize>(all.size()));
  if (!file) throw std::runtime_error(path.string() + " is too short");
  examples::pair_table::check(all, shape);
}

}  // namespace

measurement save_by_fork(const std::filesystem::path& folder,
                         const examples::pair_table_shape& shape, bool huge_pages) {
  const auto path = folder / "forked";
  measurement result;
  {
    const auto memory = examples::memory_for(shape, huge_pages);
    examples::pair_table table(memory.bytes(), shape);
    table.fill();
    examples::table_writers writers(table, 0);
    result = save(path, memory.bytes(), writers);
  }
  check(path, shape);
  std::filesystem::remove(path);
  return result;
}

}  // namespace fork_versus_snapshot
