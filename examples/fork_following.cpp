// SPDX-License-Identifier: MIT
// Memory that is served on first touch, in the process that made it and in its forked child.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <functional>
#include <span>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace {

constexpr std::chrono::seconds time_limit{10};

std::byte content_of(std::size_t page) { return static_cast<std::byte>(page * 31 + 7); }

// Touches pages [from, to) and tells if all of their bytes are what they should be.
bool are_right(std::span<const std::byte> memory, std::size_t from, std::size_t to) {
  const auto size = uffd::page_size();
  for (auto page = from; page < to; ++page)
    for (const auto byte : memory.subspan(page * size, size))
      if (byte != content_of(page)) return false;
  return true;
}

// A child that touches all pages; true if they were right there.
bool fork_and_check(std::span<const std::byte> memory, std::size_t pages) {
  const pid_t child = ::fork();
  if (child < 0) throw std::system_error(errno, std::system_category(), "fork");
  // A child of a process with threads may do no more than this.
  if (child == 0) ::_exit(are_right(memory, 0, pages) ? 0 : 1);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) throw std::system_error(errno, std::system_category(), "waitpid");
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// The handler finds out by itself, a little after the child died.
void wait_until_forgotten(const uffd::fault_handler& handler) {
  const auto deadline = std::chrono::steady_clock::now() + time_limit;
  while (handler.statistics().children != 0) {
    if (std::chrono::steady_clock::now() > deadline)
      throw std::runtime_error("the child is dead, but not forgotten");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void run(std::size_t pages) {
  std::atomic<std::size_t> own_faults{0};
  std::atomic<std::size_t> childs_faults{0};
  const auto serve_page = [&](uffd::fault& fault) {
    (fault.space() == 0 ? own_faults : childs_faults).fetch_add(1);
    const auto page = fault.buffer();
    std::fill(page.begin(), page.end(), content_of(fault.offset() / page.size()));
    return fault.copy(page);
  };
  uffd::fault_handler handler(std::ref(serve_page),
                              {.forks = uffd::fork_policy::follow,
                               .statistics = true,
                               .open = {.required = uffd::feature::event_fork}});
  const auto memory = handler.serve(uffd::mapping::anonymous(pages * uffd::page_size()));

  if (!are_right(memory.bytes(), 0, pages / 2))
    throw std::runtime_error("a page is wrong in the parent");
  if (!fork_and_check(memory.bytes(), pages))
    throw std::runtime_error("a page is wrong in the child, or could not be served");
  wait_until_forgotten(handler);
  handler.request_stop();
  handler.join();
  fmt::print(
      "fork_following: {} faults of the parent and {} of its child served, all {} pages "
      "right, child forgotten\n",
      own_faults.load(), childs_faults.load(), pages);
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t pages = 256;
  CLI::App arguments("Serves page faults of a process and of its forked child.");
  arguments.add_option("--pages", pages, "how many to serve; the parent touches half of them")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted() || !support.fork_events()) {
    fmt::print(stderr, "fork_following: {}\n", support.advice());
    return 77;
  }
  try {
    run(pages);
  } catch (const std::exception& error) {
    fmt::print(stderr, "fork_following: {}\n", error.what());
    return 1;
  }
}
