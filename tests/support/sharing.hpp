// SPDX-License-Identifier: MIT
// Paged memory that is shown to others.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <future>
#include <utility>

#include "uffd/error.hpp"
#include "uffd/handle.hpp"
#include "uffd/pager/paged_memory.hpp"
#include "uffd/pager/shared_pages.hpp"
#include "uffd/support.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::test {

inline const map_options to_be_shared{.backing = page_backing::shared};

inline bool has_minor_faults() {
  return handle::open({.optional = feature::minor_shmem}).features().has(feature::minor_shmem);
}

struct connected_sockets {
  explicit connected_sockets(int type = SOCK_STREAM) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0)
      uffd::detail::throw_errno(errno, "socketpair");
    one.reset(ends[0]);
    other.reset(ends[1]);
  }

  unique_fd one;
  unique_fd other;
};

// Both ends of it in this process.
struct shown {
  page_sharing serving;
  shared_pages pages;
};

inline shown show_here(const paged_memory& memory, int type = SOCK_STREAM) {
  connected_sockets ends(type);
  auto serving = std::async(std::launch::async, [&] { return memory.share(std::move(ends.one)); });
  shared_pages pages(std::move(ends.other));
  return {serving.get(), std::move(pages)};
}

}  // namespace uffd::test
