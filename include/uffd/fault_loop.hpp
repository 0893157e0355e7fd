// SPDX-License-Identifier: MIT
/// \file
/// A fault handler without threads, for the caller's own event loop.
#pragma once

#include <memory>
#include <utility>

#include "uffd/callbacks.hpp"
#include "uffd/detail/export.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/handle.hpp"
#include "uffd/handler_statistics.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"
#include "uffd/served_region.hpp"

namespace uffd {

/// What fault_handler does, whenever dispatch() is called: add fd() to a poll, epoll or io_uring
/// loop and call dispatch() when it is readable. Options about threads and `stop` are ignored.
/// There is no thread that could read on: with fork events negotiated, callbacks must not allocate
/// while another thread of this process may fork, nor may a second such loop be there, for
/// dispatch() allocates when a child comes; and a loop must not wait for a thread that unmaps or
/// drops served memory. For one thread at a time; one that was moved from may only be
/// assigned to or end. Ends like fault_handler, by options.on_stop.
class UFFDPP_EXPORT fault_loop {
 public:
  /// Opens a handle with what `options.open` and the callbacks ask for.
  template <class H>
  requires fault_callbacks<H>
  explicit fault_loop(H&& handler, const fault_handler_options& options = {})
      : fault_loop(detail::erase_callbacks(std::forward<H>(handler)), options) {}
  /// Takes a handle; throws as fault_handler does.
  template <class H>
  requires fault_callbacks<H> fault_loop(handle on, H&& handler,
                                         const fault_handler_options& options = {})
      : fault_loop(std::move(on), detail::erase_callbacks(std::forward<H>(handler)), options) {}
  fault_loop(fault_loop&& other) noexcept;
  fault_loop& operator=(fault_loop&& other) noexcept;
  ~fault_loop();

  /// Readable when dispatch() has something to do: messages, or faults to be tried again.
  int fd() const noexcept;
  /// Serves what is there, once, without waiting. Does nothing when called by one of its callbacks.
  void dispatch() noexcept;

  /// As fault_handler::serve().
  served_region serve(page_range range, const serve_options& options = {});
  /// As fault_handler::serve().
  served_region serve(mapping memory, serve_options options = {});

  /// Rethrows the first error of a callback, if there was one since the last call.
  void rethrow_error();
  /// The handle it reads.
  const handle& on() const noexcept;
  /// What it counted; zero, but for the children, unless options.statistics.
  handler_statistics statistics() const;

 private:
  explicit fault_loop(const detail::callbacks& client, const fault_handler_options& options);
  fault_loop(handle on, const detail::callbacks& client, const fault_handler_options& options);
  void end() noexcept;

  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace uffd
