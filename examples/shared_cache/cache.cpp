// SPDX-License-Identifier: MIT
#include "cache.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <system_error>
#include <utility>

namespace shared_cache {

cache::cache(const std::string& file, std::uint64_t budget)
    : pager_({.budget = uffd::memory_budget(budget), .statistics = true}),
      memory_(pager_.map(uffd::file_source(file), {.backing = uffd::page_backing::shared})) {}

void cache::serve(int listener, int stop) {
  for (;;) {
    std::vector<pollfd> wanted{{stop, POLLIN, 0}, {listener, POLLIN, 0}};
    for (const auto& each : readers_) wanted.push_back({each.fd(), POLLRDHUP, 0});
    if (::poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR)
      throw std::system_error(errno, std::system_category(), "poll");
    std::erase_if(readers_, [](const auto& each) { return each.is_over(); });
    if (wanted[0].revents != 0) break;
    if (wanted[1].revents != 0) welcome(listener);
  }
  readers_.clear();
}

// Who is no reader of pages is sent away.
void cache::welcome(int listener) {
  uffd::unique_fd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) {
    ::poll(nullptr, 0, 10);  // there may be too many descriptors
    return;
  }
  try {
    readers_.push_back(
        memory_.share(std::move(connection), {.time_limit = std::chrono::seconds(2)}));
  } catch (const std::exception& error) {
    fmt::print(stderr, "shared_cache: a reader was sent away: {}\n", error.what());
  }
}

}  // namespace shared_cache
