// SPDX-License-Identifier: MIT
#include "uffd/handle_keeper.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <optional>
#include <utility>

#include "detail/deadline.hpp"
#include "detail/thread.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"

namespace uffd {
namespace {

void check(const handed_over& served, int listener) {
  if (served.on.fd() < 0) detail::throw_errno(EBADF, "handle_keeper: a moved-from handle");
  if (const auto unheard = served.on.features() & event_features; !unheard.empty())
    detail::throw_errno(EINVAL, "handle_keeper: the handle has " + to_string(unheard) +
                                    ": what a pager heard would die with it");
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0)
    detail::throw_errno(errno, "handle_keeper: the listening socket");
  if (listens == 0) detail::throw_errno(EINVAL, "handle_keeper: the socket does not listen");
  const int status = ::fcntl(listener, F_GETFL);
  if (status < 0 || ::fcntl(listener, F_SETFL, status | O_NONBLOCK) != 0)
    detail::throw_errno(errno, "handle_keeper: the listening socket");
}

bool is_of_this_user(const handoff::peer& who) { return who.user == ::geteuid() || who.user == 0; }

}  // namespace

struct handle_keeper::state {
  state(handed_over kept, unique_fd socket, handle_keeper_options chosen)
      : served(std::move(kept)),
        listener(std::move(socket)),
        options(std::move(chosen)),
        stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    check(served, listener.get());
    if (!stop) detail::throw_errno(errno, "handle_keeper: eventfd");
    if (!options.trusts) options.trusts = is_of_this_user;
    thread.emplace("uffd-keeper", std::nullopt, [this] { run(); });
  }

  void run() noexcept {
    auto until = detail::deadline::after(options.pager_within);
    for (;;) {
      std::array<pollfd, 2> either{{{stop.get(), POLLIN, 0}, {listener.get(), POLLIN, 0}}};
      const bool is_ready = until.wait(either) == 0;
      if (either[0].revents != 0) return;
      // Nor may those who aren't trusted put it off by coming again and again.
      if (!is_ready || until.left() == std::chrono::nanoseconds::zero()) return give_up();
      const unique_fd connection(
          ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!connection) {
        if (!pause_after_failed_accept()) return;
      } else if (lend_to(connection.get(), until)) {
        until = detail::deadline::after(options.pager_within);
      }
    }
  }

  // Without a free descriptor, say, it fails at once, and the connection stays where it is.
  bool pause_after_failed_accept() const noexcept {
    pollfd entry{stop.get(), POLLIN, 0};
    return detail::deadline::after(std::chrono::milliseconds(5)).wait({&entry, 1}) != 0;
  }

  // True if the handle was sent; then the pager is gone again.
  bool lend_to(int connection, const detail::deadline& until) noexcept {
    try {
      if (!options.trusts(handoff::peer_of(connection))) return false;
      auto limits = options.sending;
      limits.time_limit =
          std::min(limits.time_limit, std::chrono::ceil<std::chrono::milliseconds>(until.left()));
      send_to(connection, limits);
    } catch (...) {
      return false;  // it is gone already, or takes nothing: the next one may be better
    }
    wait_until_closed(connection);
    wake();
    return true;
  }

  // Counted before: the pager may serve, and somebody look, as soon as it is sent.
  void send_to(int connection, const handoff::options& limits) {
    pagers.fetch_add(1, std::memory_order_release);
    try {
      handoff::send(connection, served.on, served.regions, limits);
    } catch (...) {
      pagers.fetch_sub(1, std::memory_order_release);
      throw;
    }
  }

  // Of a process that was killed it closes when its last thread is beyond all system calls: nothing
  // is read or resolved any more.
  void wait_until_closed(int connection) const noexcept {
    std::array<pollfd, 2> either{{{stop.get(), POLLIN, 0}, {connection, POLLRDHUP, 0}}};
    detail::deadline::never().wait(either);
  }

  void wake() const noexcept {
    for (const auto& region : served.regions) static_cast<void>(served.on.wake(region.range));
  }

  void give_up() noexcept {
    listener.reset();  // whoever connects now is refused
    close();
    gave_up.store(true, std::memory_order_release);
  }

  void close() noexcept {
    if (options.on_end == close_policy::leave_zero) {
      for (const auto& region : served.regions)
        detail::close_range(served.on, region, close_policy::leave_zero);
      served.release();
    }
    const handed_over closing = std::move(served);
  }

  handed_over served;
  unique_fd listener;
  handle_keeper_options options;
  unique_fd stop;
  detail::process_mark home = detail::process_mark::here();
  std::atomic<std::size_t> pagers{0};
  std::atomic<bool> gave_up{false};
  std::optional<detail::thread> thread;
};

handle_keeper::handle_keeper(handed_over served, unique_fd listener, handle_keeper_options options)
    : state_(std::make_unique<state>(std::move(served), std::move(listener), std::move(options))) {}

handle_keeper::handle_keeper(handle_keeper&& other) noexcept = default;

handle_keeper& handle_keeper::operator=(handle_keeper&& other) noexcept {
  if (this != &other) {
    end();
    state_ = std::move(other.state_);
  }
  return *this;
}

handle_keeper::~handle_keeper() { end(); }

void handle_keeper::end() noexcept {
  if (!state_ || state_->home.in_child()) return;
  detail::signal_eventfd(state_->stop.get());
  state_->thread->join();
  state_->close();
}

std::size_t handle_keeper::pagers() const noexcept {
  return state_->pagers.load(std::memory_order_acquire);
}

bool handle_keeper::gave_up() const noexcept {
  return state_->gave_up.load(std::memory_order_acquire);
}

}  // namespace uffd
