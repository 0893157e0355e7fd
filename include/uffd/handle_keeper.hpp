// SPDX-License-Identifier: MIT
/// \file
/// Memory of this process, served by one other process after the other.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "uffd/detail/export.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/handoff.hpp"
#include "uffd/region_info.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

/// How a handle_keeper looks for pagers.
struct handle_keeper_options {
  /// How long faults wait for a pager: for the first one, and for a successor once one is gone.
  std::chrono::milliseconds pager_within = std::chrono::seconds(10);
  /// What is left where pages are missing, when no pager came in time and when the keeper ends.
  close_policy on_end = close_policy::inaccessible;
  /// Who is given the handle. By default processes of the same effective user, and of root.
  std::function<bool(const handoff::peer&)> trusts = {};
  /// Limits for each hand-off.
  handoff::options sending = {};
};

/// Keeps the handle of memory that other processes serve, in the process whose memory it is. Each
/// pager connects to a socket, is sent the handle (it calls handoff::receive()), serves, and keeps
/// the connection open as long. One serves at a time; others that connect wait until its connection
/// is closed, which its death does. Then every fault is woken, so that what it had read and not
/// answered is raised again for the next one; meanwhile faults wait. If none comes in time the
/// memory is closed as options.on_end says, and whoever waits goes on: with SIGBUS, unless zeroes
/// were asked for.
///
/// A pager must not use the handle after it closed its connection, nor share the connection with a
/// process that may outlive it (SOCK_CLOEXEC). One that ends in order stops its handler with
/// stop_policy::hand_over; any other policy holds for the memory here. One that is alive and does
/// not answer is not noticed: faults wait. Nor is one that dies each time it was sent the handle:
/// the time begins anew with each, so count pagers() where that can happen.
///
/// It has one thread. Member functions may be called from any thread. Its end closes the memory as
/// above; in a forked child it does nothing, but such a child holds the listening socket open, and
/// the connection to a pager. One that was moved from may only be assigned to or end.
class UFFDPP_EXPORT handle_keeper {
 public:
  /// Keeps what is registered on a handle; `listener` is a listening Unix socket, SOCK_STREAM or
  /// SOCK_SEQPACKET, and is made non-blocking. Throws std::system_error: EINVAL if the handle has
  /// events (what a pager had heard of them would die with it), and what starting a thread throws;
  /// the memory is closed then, too.
  handle_keeper(handed_over served, unique_fd listener, handle_keeper_options options = {});
  handle_keeper(handle_keeper&& other) noexcept;
  handle_keeper& operator=(handle_keeper&& other) noexcept;
  ~handle_keeper();

  /// How many pagers were sent the handle, one that is being sent it included.
  std::size_t pagers() const noexcept;
  /// True once no pager came in time and the memory is closed.
  bool gave_up() const noexcept;

 private:
  struct state;
  void end() noexcept;
  std::unique_ptr<state> state_;
};

}  // namespace uffd
