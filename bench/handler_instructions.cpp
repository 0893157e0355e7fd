// SPDX-License-Identifier: MIT
// A process that faults and a process that serves it, so that the second can run under callgrind or
// strace: callgrind hangs when a thread of its own process faults. See instructions.sh.
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "support/cpus.hpp"
#include "support/descriptor_passing.hpp"
#include "support/raw_handler.h"
#include "uffd/fault.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"

namespace {

using namespace uffd::bench;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::system_category(), what);
}

// --- the process that serves; its standard input is the socket ---

void wait_for_end_of_faults(int socket) {
  const char ready = 1;
  if (::write(socket, &ready, 1) != 1) fail("write");
  char ignored = 0;
  if (::read(socket, &ignored, 1) < 0) fail("read");
}

std::vector<std::byte> page_of_ones() {
  return std::vector<std::byte>(uffd::page_size(), std::byte{1});
}

void serve_by_raw(int socket) {
  const received_registration got = receive_registration(socket);
  const std::vector<std::byte> page = page_of_ones();
  const int cpu = any_cpu;
  const raw_handler_options options{.uffd = got.descriptor.get(),
                                    .base = got.registration.begin,
                                    .block = page.size(),
                                    .source = page.data(),
                                    .technique = raw_copy,
                                    .cpus = &cpu,
                                    .handlers = 1,
                                    .messages_per_read = 16,
                                    .busy_polling = false};
  raw_handler* handler = raw_handler_start(&options);
  if (handler == nullptr) fail("raw handler");
  wait_for_end_of_faults(socket);
  raw_handler_stop(handler);
}

void serve_by_library(int socket) {
  received_registration got = receive_registration(socket);
  const sent_registration& was = got.registration;
  const std::vector<std::byte> page = page_of_ones();
  uffd::fault_handler handler(
      uffd::handle::adopt(std::move(got.descriptor),
                          uffd::flags<uffd::feature>::from_bits(was.features)),
      [&](uffd::fault& fault) { return fault.copy(page); },
      {.threads = 1, .on_stop = uffd::stop_policy::leave_zero});
  handler.serve_registered({.range = {was.begin, was.bytes},
                            .page_size = uffd::page_size(),
                            .modes = uffd::flags<uffd::register_mode>::from_bits(was.modes),
                            .ioctls = uffd::flags<uffd::range_ioctl>::from_bits(was.ioctls)});
  wait_for_end_of_faults(socket);
  handler.request_stop();
  handler.join();
}

int serve(std::string_view how) {
  if (how == "library")
    serve_by_library(STDIN_FILENO);
  else
    serve_by_raw(STDIN_FILENO);
  return EXIT_SUCCESS;
}

// --- the process that faults ---

pid_t run_with_socket(std::span<char*> command, int socket) {
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child > 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(socket, STDIN_FILENO);
  ::execvp(command[0], command.data());
  ::perror(command[0]);
  ::_exit(127);
}

void touch_each_page(const uffd::mapping& memory) {
  const volatile std::byte* bytes = memory.bytes().data();
  for (std::size_t at = 0; at < memory.bytes().size(); at += memory.page_size())
    if (bytes[at] != std::byte{1})
      throw std::runtime_error("a page shows what was not copied there");
}

// `command` ends with the null pointer that exec wants.
int touch(std::size_t faults, uffd::flags<uffd::feature> features, std::span<char*> command) {
  // Registered only after the fork, which would wait for somebody to read of it.
  const uffd::handle on = uffd::handle::open({.required = features});
  const auto memory = uffd::mapping::anonymous(faults * uffd::page_size());
  std::array<int, 2> sockets{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) fail("socketpair");
  const uffd::unique_fd mine(sockets[0]);
  uffd::unique_fd its(sockets[1]);
  const pid_t child = run_with_socket(command, its.get());
  its.reset();

  const uffd::flags<uffd::register_mode> modes = uffd::register_mode::missing;
  const auto ioctls = on.register_range(memory.range(), modes);
  send_registration(mine.get(), on.fd(),
                    {memory.range().begin(), memory.range().size(), modes.bits(), ioctls.bits(),
                     on.features().bits()});
  char ready = 0;
  if (::read(mine.get(), &ready, 1) == 1) {
    touch_each_page(memory);
    if (::write(mine.get(), &ready, 1) != 1) fail("write");
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

int usage() {
  fmt::print(
      stderr,
      "usage: handler_instructions touch FAULTS plain|forks COMMAND...\n"
      "       handler_instructions serve library|raw\n"
      "`touch` runs the command, which must end in a `serve` whose standard input is a socket:\n"
      "it takes the userfaultfd from there and serves FAULTS faults of the first process. `forks`\n"
      "has fork events negotiated.\n");
  return EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc) + 1);
  const std::string_view verb = argc > 1 ? argv[1] : "";
  try {
    if (verb == "serve" && argc == 3) return serve(argv[2]);
    if (verb == "touch" && argc > 4) {
      uffd::flags<uffd::feature> features;
      if (argv[3] == std::string_view("forks")) features = uffd::feature::event_fork;
      return touch(std::strtoul(argv[2], nullptr, 10), features, arguments.subspan(4));
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "handler_instructions {}: {}\n", verb, error.what());
    return EXIT_FAILURE;
  }
  return usage();
}
