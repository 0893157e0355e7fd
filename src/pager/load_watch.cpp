// SPDX-License-Identifier: MIT
#include "pager/load_watch.hpp"

#include <algorithm>

namespace uffd::detail {
namespace {

constexpr std::chrono::milliseconds shortest_pause(5);
constexpr std::chrono::milliseconds longest_pause(1000);

}  // namespace

load_watch::load_watch() : thread_("uffd watch", std::nullopt, [this] { run(); }) {}

load_watch::~load_watch() {
  if (home_.in_child()) return;
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void load_watch::add(paged_region& region) {
  {
    const std::lock_guard lock(mutex_);
    regions_.push_back(&region);
  }
  changed_.notify_one();
}

void load_watch::remove(paged_region& region) noexcept {
  const std::lock_guard lock(mutex_);
  regions_.erase(std::remove(regions_.begin(), regions_.end(), &region), regions_.end());
}

// A quarter of the shortest deadline.
std::chrono::milliseconds load_watch::pause() const noexcept {
  auto shortest = longest_pause * 4;
  for (const auto* region : regions_) shortest = std::min(shortest, region->deadline());
  return std::max(shortest / 4, shortest_pause);
}

void load_watch::run() noexcept {
  std::unique_lock lock(mutex_);
  while (!is_over_) {
    if (regions_.empty())
      changed_.wait(lock);
    else
      changed_.wait_for(lock, pause());
    for (auto* region : regions_) region->give_up_overdue();
  }
}

}  // namespace uffd::detail
