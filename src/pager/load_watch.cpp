// SPDX-License-Identifier: MIT
#include "pager/load_watch.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>

#include "detail/monotonic.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

constexpr std::chrono::milliseconds shortest_pause(5);
constexpr std::chrono::milliseconds longest_pause(1000);

unique_fd make_eventfd() {
  unique_fd made(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!made) throw_errno(errno, "pager: eventfd");
  return made;
}

}  // namespace

load_watch::load_watch()
    : changes_(make_eventfd()), thread_("uffd watch", std::nullopt, [this] { run(); }) {}

load_watch::~load_watch() {
  if (home_.in_child()) return;
  is_over_ = true;
  wake_up();
  thread_.join();
}

void load_watch::wake_up() const noexcept {
  const std::uint64_t one = 1;
  if (::write(changes_.get(), &one, sizeof one) < 0) return;  // EAGAIN: it was woken already
}

void load_watch::add(paged_region& region) {
  {
    const std::lock_guard lock(mutex_);
    regions_.push_back(&region);
  }
  wake_up();
}

void load_watch::remove(paged_region& region) noexcept {
  const std::lock_guard lock(mutex_);
  regions_.erase(std::remove(regions_.begin(), regions_.end(), &region), regions_.end());
}

// A quarter of the shortest deadline; negative without regions.
std::chrono::milliseconds load_watch::pause() noexcept {
  const std::lock_guard lock(mutex_);
  if (regions_.empty()) return std::chrono::milliseconds(-1);
  auto shortest = longest_pause * 4;
  for (const auto* region : regions_) shortest = std::min(shortest, region->deadline());
  return std::max(shortest / 4, shortest_pause);
}

void load_watch::run() noexcept {
  while (!is_over_) {
    pollfd ready{changes_.get(), POLLIN, 0};
    const auto wait = pause();
    const auto begun = monotonic_nanoseconds();
    ::poll(&ready, 1, static_cast<int>(wait.count()));
    // In a process that was stopped nobody is to blame for what took so long.
    const auto late = wait.count() < 0
                          ? std::chrono::nanoseconds(0)
                          : std::chrono::nanoseconds(monotonic_nanoseconds() - begun) - wait;
    std::uint64_t taken = 0;
    if (::read(changes_.get(), &taken, sizeof taken) < 0 && errno == EBADF) return;
    const std::lock_guard lock(mutex_);
    for (auto* region : regions_)
      region->give_up_overdue(std::max(late, std::chrono::nanoseconds(0)));
  }
}

}  // namespace uffd::detail
