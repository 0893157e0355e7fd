// SPDX-License-Identifier: MIT
/// \file
/// Which pages were written.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>

#include "uffd/detail/export.hpp"
#include "uffd/mapping.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"

namespace uffd {

class fault_handler;

namespace detail {
class memory_tracking;
class tracking_engine;
}  // namespace detail

/// How writes are noticed.
enum class tracker_engine {
  automatic,     ///< asynchronous where the kernel has it
  asynchronous,  ///< the kernel notes them by itself (UFFD_FEATURE_WP_ASYNC and PAGEMAP_SCAN, Linux
                 ///< 6.7): nobody is interrupted, a first write to a page costs a minor fault
  synchronous,   ///< a first write to a page waits until a thread of a fault_handler has noted it
                 ///< (Linux 5.7 for anonymous memory; 5.19 for shared memory and huge pages)
};

/// What tracked_memory::collect() found.
struct written_pages {
  std::span<page_range> written;  ///< ascending; none touches another
  page_range rest;                ///< what was not looked at, for the buffer is full
};

/// Memory whose writes are tracked, until this ends; made by write_tracker::track(). What is
/// unmapped or moved elsewhere (mremap) is not tracked any more. Its end touches no page.
/// Move-only.
class UFFDPP_EXPORT tracked_memory {
 public:
  tracked_memory(tracked_memory&&) noexcept = default;
  tracked_memory& operator=(tracked_memory&&) noexcept = default;
  ~tracked_memory() = default;

  /// What is tracked.
  page_range range() const noexcept { return range_; }
  /// Bytes in one of its pages.
  std::size_t page_size() const noexcept { return page_size_; }

  /// Finds the pages of `part` that were written since they were collected the last time, or
  /// tracked, and begins anew with them, in the same step: a write at any time is told by this call
  /// or a later one, one that was over when it began by this call, and what was told can be read at
  /// once. `part` must consist of whole pages of this memory. Where `into` is full it stops, and
  /// all that it found begins anew:
  ///
  ///     for (auto part = tracked.range(); !part.empty();) {
  ///       const auto found = tracked.collect(part, buffer);
  ///       for (const auto written : found.written) save(written);
  ///       part = found.rest;
  ///     }
  ///
  /// Throws std::system_error: EINVAL for another part or an empty buffer; EPERM where something
  /// else was mapped there meanwhile, which nobody tracks; ENOTSUP for huge pages whose size was
  /// not given to track(), and of other sizes than those of transparent ones where the kernel
  /// can't (the asynchronous engine); EOWNERDEAD in a forked child; what the callback
  /// before_write threw, or ECANCELED after a handler has stopped, by every call from then on. What
  /// was found before an error comes first: then the call for the rest throws. Different threads
  /// may collect at once: each write is told to one of them.
  written_pages collect(page_range part, std::span<page_range> into) const {
    return find(part, into, true);
  }
  /// The same for all of it: each(page_range) is called for what was written.
  template <class Each>
  requires std::is_invocable_v<Each&, page_range>
  void collect(Each&& each) const { for_each_of(range(), each, true); }
  /// The same for a part.
  template <class Each>
  requires std::is_invocable_v<Each&, page_range>
  void collect(page_range part, Each&& each) const { for_each_of(part, each, true); }

  /// Finds the same and changes nothing: it will be found again.
  written_pages peek(page_range part, std::span<page_range> into) const {
    return find(part, into, false);
  }
  /// The same for all of it: each(page_range) is called for what was written.
  template <class Each>
  requires std::is_invocable_v<Each&, page_range>
  void peek(Each&& each) const { for_each_of(range(), each, false); }

 private:
  friend class write_tracker;
  tracked_memory(std::shared_ptr<detail::memory_tracking> by, page_range memory,
                 std::size_t page) noexcept;

  written_pages find(page_range part, std::span<page_range> into, bool begins_anew) const;
  template <class Each>
  void for_each_of(page_range part, Each& each, bool begins_anew) const {
    std::array<page_range, 256> buffer;
    while (!part.empty()) {
      const auto found = find(part, buffer, begins_anew);
      std::for_each(found.written.begin(), found.written.end(), std::ref(each));
      part = found.rest;
    }
  }

  std::shared_ptr<detail::memory_tracking> by_;
  page_range range_;
  std::size_t page_size_;
};

/// Tracks which pages of this process's memory are written, by whomever: its threads or system
/// calls. Two engines do it, by the same contract; both for anonymous memory, shared memory
/// (memfd), files of shared memory that are mapped privately, and huge pages; not for memory that
/// is registered with userfaultfd already.
///
/// - A page that was never touched counts as written when it is written, not when it is read.
/// - Anonymous memory that is dropped (MADV_DONTNEED) counts as written. Other memory does not: of
///   private pages of a file, and of private huge pages, what they had is lost untold.
/// - What reaches shared memory otherwise, through another mapping or the file, is not told; so it
///   is with writes of a forked child, which can't collect either, and on some kernels (Linux 6.1)
///   hangs when it writes to private huge pages.
/// - Direct input, and what else a device writes by itself, counts when it begins: what arrives
///   after a collect() meanwhile is not told.
///
/// The asynchronous engine works for private mappings of any file, too, and takes two per mille of
/// the memory for page tables, where pages are small. Where transparent huge pages are used, one
/// may count as a whole until a part of it was collected. mremap(2) to a place next to tracked
/// memory may end its tracking (seen with Linux 6.18), which collect() tells as EPERM.
///
/// The synchronous engine takes a byte for each page, of those that are touched. Each first write
/// to a page waits for a thread of the handler; so does the first touch of each page of anonymous
/// memory, which takes a page of its own even if it is only read, and never a transparent huge
/// page. Pages that the kernel merges (KSM) lose their protection (seen with Linux 6.18): what it
/// tracks is kept from that (MADV_UNMERGEABLE), and must not be made mergeable again. (The
/// asynchronous engine tells of such pages as written.) It must not track memory that the handler
/// itself needs, nor what a thread needs that the handler waits for: the heap as a whole, say. Who
/// collects anonymous memory looks at the page tables of all of it. What is mapped over huge pages,
/// or moved away, is noticed where pages were written.
///
/// What was tracked lives on when it ends. Member functions may be called from any thread.
class UFFDPP_EXPORT write_tracker {
 public:
  /// Throws std::system_error: ENOTSUP, naming it, where the kernel lacks what the engine needs,
  /// and as handle::open() does. The synchronous engine demands that faults of system calls are
  /// served (kernel_fault_policy::required), for they would fail with EFAULT where they meet what
  /// is protected; only `never` forgoes that.
  explicit write_tracker(tracker_engine engine = tracker_engine::automatic,
                         const open_options& open = {});
  /// Tracks synchronously and shows each page before it is written: before_write(page) is called
  /// when the first write to a page since it was collected, or tracked, is about to be done; the
  /// page holds what it held then and can be read. (Not so where it was dropped or unmapped, for
  /// that is no write. Where several threads wrote to a page at once it may be called, and the page
  /// told, once more than was written.) It runs on a thread of the handler, several at once for
  /// different pages, while who writes waits. It must not touch other pages that are tracked,
  /// collect, nor wait for anything that a thread may hold that writes: a lock, perhaps the
  /// allocator's. To read a page that another thread drops meanwhile takes a thread of the handler
  /// that is in no such callback (it has two at least): it waits for one. If it throws, the
  /// application goes on, unprotected: nothing more is tracked of that memory, and collect() throws
  /// the same. Throws as above.
  explicit write_tracker(std::function<void(page_range)> before_write,
                         const open_options& open = {});
  /// The same as a client of a handler that serves other memory too, which must outlive all that is
  /// tracked; `before_write` may be empty. With a callback, and memory that is dropped, the handler
  /// needs two threads at least. If it stops earlier, collect() throws ECANCELED. Throws
  /// std::system_error (EINVAL) if the handle lacks feature::pagefault_flag_wp, or has
  /// feature::wp_unpopulated or feature::wp_async. Children that it follows are not tracked.
  explicit write_tracker(fault_handler& by, std::function<void(page_range)> before_write = {});

  /// Which engine it is: never tracker_engine::automatic.
  tracker_engine engine() const noexcept { return engine_; }

  /// Tracks memory from now on; `page` is how many bytes a page of it has. Throws
  /// std::system_error: EINVAL for what isn't aligned to that, no such memory, or, with the
  /// synchronous engine, anonymous memory and other memory in one, or anonymous memory with a
  /// `page` that isn't page_size(); EINVAL or ENOMEM for what is not mapped, EBUSY for what is
  /// registered with another userfaultfd, EEXIST for what the same handler serves already; ENOTSUP
  /// for huge pages whose size is not given (the synchronous engine).
  tracked_memory track(page_range memory, std::size_t page = page_size()) const;
  /// Tracks all of a mapping, which must outlive it.
  tracked_memory track(const mapping& memory) const {
    return track(memory.range(), memory.page_size());
  }

 private:
  tracker_engine engine_;
  std::shared_ptr<detail::tracking_engine> by_;
};

}  // namespace uffd
