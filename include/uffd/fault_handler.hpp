// SPDX-License-Identifier: MIT
/// \file
/// Threads that serve page faults through typed callbacks.
#pragma once

#include <memory>
#include <utility>

#include "uffd/callbacks.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/detail/export.hpp"
#include "uffd/fault.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/handed_over.hpp"
#include "uffd/handle.hpp"
#include "uffd/handler_statistics.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"
#include "uffd/served_region.hpp"

namespace uffd {

/// Serves the page faults of registered memory, of this process and of its forked children, on
/// threads of its own, by the callbacks of a handler object (see uffd::fault_callbacks).
///
/// Callbacks for faults run on any of the threads, several at once; callbacks for events one at a
/// time, in the kernel's order, and before the faults that came after them. They may allocate,
/// block on input and output, and serve further ranges; they must not touch memory that the same
/// handler serves nor wait for a thread that may. The threads block all signals but those that a
/// fault of their own raises (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS). After a fork, the
/// child must not use the handler; ending it there is safe.
///
/// What can't be served fails closed: a missing or minor page is poisoned, or made inaccessible
/// where the kernel can't poison; a write to a protected page goes through unrecorded. The first
/// error is rethrown by join(). A fault outside every served range is woken first; if it keeps
/// coming for about two and a half seconds, it fails closed too. Where nothing helps, the process
/// ends with a message rather than show wrong memory: when a followed child causes events for a
/// minute without a gap between two in which its pages could be closed.
///
/// Set-up throws std::system_error. Member functions may be called from any thread; one that was
/// moved from may only be assigned to or end. It must not end in one of its own callbacks: that
/// ends the process with a message.
class UFFDPP_EXPORT fault_handler {
 public:
  /// Opens a handle with what `options.open` and the callbacks ask for, and starts.
  template <class H>
  requires fault_callbacks<H>
  explicit fault_handler(H&& handler, const fault_handler_options& options = {})
      : fault_handler(detail::erase_callbacks(std::forward<H>(handler)), options) {}
  /// Takes a handle and starts. Throws std::system_error (EINVAL), naming them, if features are
  /// missing that the callbacks need, or events are switched on that nobody would hear.
  template <class H>
  requires fault_callbacks<H> fault_handler(handle on, H&& handler,
                                            const fault_handler_options& options = {})
      : fault_handler(std::move(on), detail::erase_callbacks(std::forward<H>(handler)), options) {}
  /// Serves on, and at once, what a predecessor handed over, its forked children included.
  /// Throws as above; what was handed over is then closed (stop_policy::inaccessible), unless lent.
  template <class H>
  requires fault_callbacks<H> fault_handler(handed_over served, H&& handler,
                                            const fault_handler_options& options = {})
      : fault_handler(std::move(served), detail::erase_callbacks(std::forward<H>(handler)),
                      options) {}
  fault_handler(fault_handler&& other) noexcept;
  fault_handler& operator=(fault_handler&& other) noexcept;
  /// Stops and joins; an error that join() would have thrown is lost.
  ~fault_handler();

  /// Registers a range and serves it until the result ends. The memory stays the caller's and must
  /// outlive the result. From callbacks too. Throws as handle::register_range() does, and EEXIST if
  /// part of it is served already.
  served_region serve(page_range range, const serve_options& options = {});
  /// The same for a mapping, which the result then owns: nobody else may unmap or move it.
  served_region serve(mapping memory, serve_options options = {});
  /// Serves a range by other callbacks than the handler's own: several users share threads and
  /// descriptor. Throws also if they need features that are not negotiated.
  template <class H>
  requires fault_callbacks<H> served_region serve(page_range range, H&& client,
                                                  const serve_options& options = {}) {
    return serve_by(range, detail::erase_callbacks(std::forward<H>(client)), options);
  }
  /// Serves what is registered on the handle already, by another process, say, until the handler
  /// stops. A fault there that waits for this call fails closed after about two and a half seconds.
  void serve_registered(const region_info& registered);

  /// Asks to stop, also from a callback, and returns at once.
  void request_stop() noexcept;
  /// Waits until it has stopped, then rethrows the first error of a callback. Throws
  /// std::system_error: EDEADLK when called from a callback, EOWNERDEAD in a forked child.
  void join();
  /// Stops as stop_policy::hand_over whatever the options say, waits, and gives what a successor
  /// needs. Faults that were read but not resolved are raised again. What served_regions own must
  /// outlive the successor. Throws std::system_error: EDEADLK when called from a callback,
  /// EOWNERDEAD in a forked child, ECANCELED after a stop by another policy, or the
  /// second time.
  handed_over hand_over();
  /// Rethrows the first error of a callback, if there was one since the last call.
  void rethrow_error();

  /// The handle it reads.
  const handle& on() const noexcept;
  /// What it counted; zero, but for the children, unless options.statistics.
  handler_statistics statistics() const;

 private:
  explicit fault_handler(const detail::callbacks& client, const fault_handler_options& options);
  fault_handler(handle on, const detail::callbacks& client, const fault_handler_options& options);
  fault_handler(handed_over served, const detail::callbacks& client,
                const fault_handler_options& options);
  served_region serve_by(page_range range, detail::callbacks client, const serve_options& options);
  void end() noexcept;

  struct threads;
  std::unique_ptr<threads> threads_;
};

}  // namespace uffd
