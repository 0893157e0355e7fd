// SPDX-License-Identifier: MIT
/// \file
/// Memory whose pages come from anywhere, within a budget.
#pragma once

#include <memory>
#include <utility>

#include "uffd/detail/export.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/open_options.hpp"
#include "uffd/pager/any_source.hpp"
#include "uffd/pager/map_options.hpp"
#include "uffd/pager/memory_budget.hpp"
#include "uffd/pager/paged_memory.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {

namespace detail {
struct pager_threads;
}  // namespace detail

/// How a pager runs.
struct pager_options {
  /// How much may be resident; by default without a limit.
  memory_budget budget = memory_budget();
  /// Threads that serve faults, as fault_handler_options::threads says; where they are served in
  /// the threads that raise them, how many of those have a buffer that the budget counts. 0: one
  /// for each CPU that may be used, 8 at most.
  unsigned threads = 0;
  /// Count what happens (paged_memory::statistics()).
  bool statistics = false;
  /// How to open the handle.
  open_options open = {};
};

/// Maps sources: each mapping fills itself when it is touched, with pages of the system's size, or
/// huge ones (page_backing::huge).
///
/// Its memory lives on when it ends: what it started ends with the last mapping. Sources are called
/// on the threads that serve faults, and by prefetch(), pin(), flush() and the budget's thread in
/// theirs. A source must not touch paged memory of the same pager.
///
/// Throws std::system_error. Member functions may be called from any thread.
class UFFDPP_EXPORT pager {
 public:
  /// Serves faults on threads of its own. Throws also EINVAL for a budget of less than some pages a
  /// thread.
  explicit pager(const pager_options& options = {});
  /// Serves faults in the threads that raise them, which is faster where many pages are touched
  /// singly. All its sources' read() must do only what a signal handler may (as those of
  /// memory_source and file_source do); system calls that meet a missing page fail with EFAULT.
  /// Handlers of other signals must not touch the memory: the thread that they interrupt may be
  /// busy with the same page.
  pager(async_signal_safe_t declared, const pager_options& options = {});
  /// Serves faults by a handler that others use too, which must outlive its mappings. Its buffers
  /// are not counted by the budget; at most so much is read at once (buffer_size).
  explicit pager(fault_handler& by, const pager_options& options = {});

  /// Maps all of a source, which it takes over (or refers to: std::ref()). Throws
  /// std::system_error: EROFS for write_policy::write_back of a source that is not writable; EINVAL
  /// for an empty one, for page_backing::shared with another policy than write_policy::none, for
  /// huge pages of a size that the kernel does not have or that no buffer of a thread can hold (a
  /// thirty-second of the budget for all threads, 2 MiB at most; of a handler that others use too,
  /// its buffer_size, and the budget); ENOTSUP where handle or kernel lack what a page_backing
  /// needs; ENOMEM where the source is larger than the address space.
  template <class S>
  requires page_source<std::unwrap_reference_t<S>> paged_memory map(S&& source,
                                                                    const map_options& options = {})
  const { return map_any(any_source(std::forward<S>(source)), options); }

 private:
  paged_memory map_any(any_source source, const map_options& options) const;

  std::shared_ptr<detail::pager_threads> threads_;
};

}  // namespace uffd
