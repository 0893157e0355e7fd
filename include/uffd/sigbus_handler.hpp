// SPDX-License-Identifier: MIT
/// \file
/// Page faults served in the thread that raised them (UFFD_FEATURE_SIGBUS), without any other
/// thread.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <utility>

#include "uffd/callbacks.hpp"
#include "uffd/detail/export.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/served_region.hpp"

namespace uffd {

/// The type of uffd::async_signal_safe.
struct async_signal_safe_t {
  /// Only by name.
  explicit constexpr async_signal_safe_t() noexcept = default;
};
/// Written before a callback, it declares that the callback does what a signal handler may, and
/// nothing else: man 7 signal-safety. No compiler can check that, so it is said where the callback
/// is given, and is read before its body.
inline constexpr async_signal_safe_t async_signal_safe{};

namespace detail {

template <class H>
concept serves_faults_without_throwing = requires(H& handler, fault& raised) {
  { handler.on_page_fault(raised) }
  noexcept->std::convertible_to<resolution>;
}
|| (!has_on_page_fault<H> && requires(H & handler, fault& raised) {
  { handler(raised) }
  noexcept->std::convertible_to<resolution>;
});

class in_thread_server;

}  // namespace detail

/// Something that can serve faults inside a signal handler: as uffd::fault_callbacks, noexcept, and
/// without callbacks for events, which nobody would read.
template <class H>
concept signal_callback = fault_callbacks<H> &&
    detail::serves_faults_without_throwing<detail::unwrapped<H>> && features_for<H>
.empty();

/// How a sigbus_handler serves.
struct sigbus_handler_options {
  /// Bytes of fault::buffer(), at least the largest page served; only what is used takes memory.
  std::size_t buffer_size = std::size_t{2} << 20;
  /// Buffers made at once: as many as threads that fault at the same time. When all are taken, the
  /// fault that needs another makes it, and it is kept.
  std::size_t buffers = 16;
  /// How to open the handle, if none is given; feature::sigbus is added.
  open_options open = {};
};

/// Serves the page faults of registered memory in the threads that raise them: the kernel sends
/// such a thread SIGBUS, and the callback runs inside the signal handler. No thread is woken and
/// none needs to be there, so a fault takes about half as long as with a fault_handler on the same
/// CPU; and the callback may do only what a signal handler may.
///
/// **The callback** gets the same uffd::fault and gives the same answers as one of a fault_handler,
/// on any number of threads at once, and interrupts whatever they do. It must not throw, allocate,
/// lock what it may have interrupted, touch memory that its own handler serves (that would call it
/// again, without end), call serve() or end what serve() returned. Memory of other handlers it may
/// touch, but not under ThreadSanitizer, which blocks signals in signal handlers. It runs on the
/// alternate signal stack, where the thread has one (sigaltstack): make that large enough, also for
/// faults inside faults. Other signals may interrupt it, but their handlers must return to
/// it: where one leaves it by siglongjmp(3), the end of its range waits for ever.
/// - resolved: the access is tried again. A callback that says so without having resolved the fault
///   is called again, without end.
/// - retry: other threads run first, then the access is tried again.
/// - gone: the access is tried again if the memory can be read now, else as failed.
/// - poison(), and failed: SIGBUS for this access; it goes to whoever had that signal before (the
///   default action ends the process). Whoever touches the page later asks the callback again;
///   after poison() only where the kernel reports poison as BUS_ADRERR, and copy() heals it. But a
///   write to a protected page whose fault failed goes through unrecorded, as with a fault_handler.
/// - defer() is refused: it gives an empty deferred_fault, and the fault counts as failed with
///   ENOTSUP.
///
/// rethrow_error() tells of the first fault that failed.
///
/// **Kinds.** The signal doesn't say what kind of fault it was. A write to a protected page is
/// known by the processor's error code (x86-64, arm64; elsewhere by /proc/self/pagemap). Memory
/// registered for one of missing and minor raises that; so does, once, a write to a protected page
/// that was swapped out or came just now, which copy(), zeropage() and continue_() leave as it is.
/// Registered for both, shared memory is looked up (mincore(2)), and so is known; of huge pages
/// nothing tells whether the page cache has them: such a fault is called minor, and a second time,
/// as missing, if the answer is failed with EFAULT, as that of continue_() is for a hole in the
/// page cache. So continue_() must come before anything that writes to the page cache.
/// register_mode::read_write_protect is refused.
///
/// **The signal.** The first handler of the process installs an action for SIGBUS, which stays: a
/// fault that was raised while memory was served may be delivered after the last handler has ended.
/// If another is installed over it, that must call it. What is no fault of served memory (a
/// truncated file, a hardware error, kill(2)) reaches the action that was there before as if this
/// one weren't. The library must not be unloaded (dlclose(3)) after that. Threads that touch served
/// memory must not block SIGBUS: the kernel ends the process. errno is kept.
///
/// **System calls** are not served, whatever the privileges: one that meets a missing page, or
/// writes to a protected one, fails with EFAULT. Touch the memory before (uffd::touch()). So do
/// ptrace and /proc/PID/mem.
///
/// **Forks.** Children are not served. They don't inherit mappings that a served_region owns
/// (SIGSEGV); memory that was only lent is inherited, and reads as zeroes where pages are missing,
/// so lend it with MADV_DONTFORK. A child may make handlers of its own.
///
/// **Moves** are heard by nobody: memory that is moved while it is served (mremap(2)) is no longer
/// registered where it is now, and reads as zeroes where pages are missing.
///
/// Set-up throws std::system_error. Member functions may be called from any thread, but not from a
/// callback; one that was moved from may only be assigned to or end. Its end closes, as
/// serve_options::on_end says, what it still serves. Linux 4.14.
class UFFDPP_EXPORT sigbus_handler {
 public:
  /// Opens a handle with feature::sigbus and what `options.open` asks for. No privileges are
  /// needed: Linux 5.11 serves faults of user code to everybody. Throws EINVAL if faults from
  /// system calls are required, or events.
  template <class H>
  requires signal_callback<H>
  explicit sigbus_handler(async_signal_safe_t /*declared*/, H&& callback,
                          const sigbus_handler_options& options = {})
      : sigbus_handler(detail::erase_callbacks(std::forward<H>(callback)), options) {}
  /// Takes a handle. Throws EINVAL if it lacks feature::sigbus, if events are switched on, naming
  /// them, or if the memory is another process's.
  template <class H>
  requires signal_callback<H> sigbus_handler(handle on, async_signal_safe_t /*declared*/,
                                             H&& callback,
                                             const sigbus_handler_options& options = {})
      : sigbus_handler(std::move(on), detail::erase_callbacks(std::forward<H>(callback)), options) {
  }
  sigbus_handler(sigbus_handler&& other) noexcept;
  sigbus_handler& operator=(sigbus_handler&& other) noexcept;
  /// Waits for callbacks that run.
  ~sigbus_handler();

  /// Registers a range and serves it until the result ends. The memory stays the caller's and must
  /// outlive the result. Throws as handle::register_range() does, EEXIST if part of it is served
  /// already, and EINVAL for pages larger than a buffer.
  served_region serve(page_range range, const serve_options& options = {});
  /// The same for a mapping, which the result then owns: nobody else may unmap or move it.
  served_region serve(mapping memory, serve_options options = {});

  /// Rethrows the first error of a fault that failed, if there was one since the last call.
  void rethrow_error();
  /// The handle that memory is registered on.
  const handle& on() const noexcept;

 private:
  sigbus_handler(detail::callbacks client, const sigbus_handler_options& options);
  sigbus_handler(handle on, detail::callbacks client, const sigbus_handler_options& options);
  void end() noexcept;

  std::shared_ptr<detail::in_thread_server> server_;
};

}  // namespace uffd
