// SPDX-License-Identifier: MIT
// Page faults beside a timer in the caller's own epoll loop: the wrapper alone, no handler class.
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <system_error>
#include <thread>
#include <variant>
#include <vector>

namespace {

constexpr itimerspec every_millisecond{{0, 1'000'000}, {0, 1'000'000}};
constexpr std::uint64_t ticks_wanted = 3;

std::byte letter_of(std::size_t page) { return static_cast<std::byte>('a' + page % 26); }

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::system_category(), what);
  return result;
}

std::uint64_t take_count(const uffd::unique_fd& counter) {
  std::uint64_t count = 0;
  return ::read(counter.get(), &count, sizeof count) == sizeof count ? count : 0;
}

class event_loop {
 public:
  explicit event_loop(const uffd::mapping& memory)
      : region_(on_, memory), messages_(on_), page_(memory.page_size()) {
    checked(::timerfd_settime(timer_.get(), 0, &every_millisecond, nullptr), "timerfd_settime");
    for (const int each : {on_.fd(), timer_.get(), finished_.get()}) {
      epoll_event interest{};
      interest.events = EPOLLIN;
      interest.data.fd = each;
      checked(::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, each, &interest), "epoll_ctl");
    }
  }

  // Until finish() was called, and the timer has been seen too.
  void run() {
    bool is_finished = false;
    while (!is_finished || ticks_ < ticks_wanted) {
      epoll_event ready{};
      const int count = ::epoll_wait(poll_.get(), &ready, 1, -1);
      if (count < 0 && errno != EINTR) checked(count, "epoll_wait");
      if (count <= 0) continue;
      if (ready.data.fd == on_.fd()) serve_messages();
      if (ready.data.fd == timer_.get()) ticks_ += take_count(timer_);
      if (ready.data.fd == finished_.get()) is_finished = take_count(finished_) != 0;
    }
  }
  // From any thread.
  void finish() { checked(::eventfd_write(finished_.get(), 1), "eventfd"); }

  std::size_t faults() const { return faults_; }
  std::uint64_t ticks() const { return ticks_; }

 private:
  void serve_messages() {
    const auto batch = messages_.read();
    if (batch.error()) throw std::system_error(batch.error(), "reading messages");
    for (const auto& event : batch)
      if (const auto* fault = std::get_if<uffd::page_fault>(&event)) serve(*fault);
  }

  void serve(const uffd::page_fault& fault) {
    const auto to = uffd::align_down(fault.address, page_.size());
    const auto number = (to - region_.info().range.begin()) / page_.size();
    std::fill(page_.begin(), page_.end(), letter_of(number));
    const auto answer = uffd::resolve::copy(on_, to, page_);
    if (answer.error()) throw std::system_error(answer.error(), "serving a page");
    // `retry` or `gone`: if the page is still missing, its thread faults again.
    if (!answer.is_resolved()) static_cast<void>(on_.wake({to, page_.size()}));
    ++faults_;
  }

  uffd::handle on_ = uffd::handle::open();
  uffd::region region_;
  uffd::message_reader messages_;
  std::vector<std::byte> page_;  // never in memory that is served
  uffd::unique_fd poll_{checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")};
  uffd::unique_fd timer_{checked(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create")};
  uffd::unique_fd finished_{checked(::eventfd(0, EFD_CLOEXEC), "eventfd")};
  std::size_t faults_ = 0;
  std::uint64_t ticks_ = 0;
};

// The number of pages that hold what they should.
std::size_t count_right_pages(const uffd::mapping& memory) {
  std::size_t right = 0;
  const auto bytes = memory.bytes();
  for (std::size_t at = 0; at < bytes.size(); at += memory.page_size())
    if (bytes[at] == letter_of(at / memory.page_size())) ++right;
  return right;
}

int run(std::size_t pages) {
  const auto memory = uffd::mapping::anonymous(pages * uffd::page_size());
  event_loop loop(memory);
  std::size_t right = 0;
  std::thread toucher([&] {
    right = count_right_pages(memory);
    loop.finish();
  });
  try {
    loop.run();
  } catch (const std::exception& error) {
    // The toucher may wait for a page that nobody will serve: it can't be joined.
    fmt::print(stderr, "own_event_loop: {}\n", error.what());
    std::_Exit(1);
  }
  toucher.join();
  fmt::print("own_event_loop: {} faults served between {} timer ticks, {} of {} pages right\n",
             loop.faults(), loop.ticks(), right, pages);
  return right == pages ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t pages = 256;
  CLI::App arguments("Serves page faults in an epoll loop that has other things to do as well.");
  arguments.add_option("--pages", pages, "how many to serve")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "own_event_loop: {}\n", support.advice());
    return 77;
  }
  try {
    return run(pages);
  } catch (const std::exception& error) {
    fmt::print(stderr, "own_event_loop: {}\n", error.what());
    return 1;
  }
}
