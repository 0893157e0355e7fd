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
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region.hpp"

namespace uffd {

namespace detail {
class written_page_scan;
}  // namespace detail

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
  /// What is tracked.
  page_range range() const noexcept { return region_.info().range; }
  /// Bytes in one of its pages.
  std::size_t page_size() const noexcept { return region_.info().page_size; }

  /// Finds the pages of `part` that were written since they were collected the last time, or
  /// tracked, and begins anew with them, in the same step: a write at any time is told by this call
  /// or a later one, and what was told can be read at once. `part` must consist of whole pages of
  /// this memory. Where `into` is full it stops, and all that it found begins anew:
  ///
  ///     for (auto part = tracked.range(); !part.empty();) {
  ///       const auto found = tracked.collect(part, buffer);
  ///       for (const auto written : found.written) save(written);
  ///       part = found.rest;
  ///     }
  ///
  /// Throws std::system_error: EINVAL for another part or an empty buffer; EPERM where something
  /// else was mapped there meanwhile, which nobody tracks (what it had found by then is not told);
  /// ENOTSUP for huge pages whose size was not given to track(), and of other sizes than those of
  /// transparent ones where the kernel can't; EOWNERDEAD in a forked child. Different threads may
  /// collect at once: each write is told to one of them.
  written_pages collect(page_range part, std::span<page_range> into) const {
    return scan(part, into, true);
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
    return scan(part, into, false);
  }
  /// The same for all of it: each(page_range) is called for what was written.
  template <class Each>
  requires std::is_invocable_v<Each&, page_range>
  void peek(Each&& each) const { for_each_of(range(), each, false); }

 private:
  friend class write_tracker;
  tracked_memory(std::shared_ptr<detail::written_page_scan> by, region registered) noexcept;

  written_pages scan(page_range part, std::span<page_range> into, bool begins_anew) const;
  template <class Each>
  void for_each_of(page_range part, Each& each, bool begins_anew) const {
    std::array<page_range, 256> buffer;
    while (!part.empty()) {
      const auto found = scan(part, buffer, begins_anew);
      std::for_each(found.written.begin(), found.written.end(), std::ref(each));
      part = found.rest;
    }
  }

  std::shared_ptr<detail::written_page_scan> by_;
  region region_;
};

/// Tracks which pages of this process's memory are written, by whomever: its threads or system
/// calls. The kernel notes it by itself (UFFD_FEATURE_WP_ASYNC, PAGEMAP_SCAN; Linux 6.7): nobody is
/// interrupted, a first write to a page costs a minor fault. It works for all kinds of memory that
/// is mapped privately (a file's, too), for shared memory (memfd), and for huge pages of both; not
/// for memory that is registered with userfaultfd already.
///
/// - A page that was never touched counts as written when it is written, not when it is read. For
///   that the kernel marks it: two per mille of the memory for page tables, where pages are small.
/// - Anonymous memory that is dropped (MADV_DONTNEED) counts as written. Other memory does not: of
///   private pages of a file, and of private huge pages, what they had is lost untold.
/// - Where transparent huge pages are used, one may count as a whole until a part of it was
///   collected.
/// - What reaches shared memory otherwise, through another mapping or the file, is not told; so it
///   is with writes of a forked child, which can't collect either.
/// - Direct input, and what else a device writes by itself, counts when it begins: what arrives
///   after a collect() meanwhile is not told.
/// - mremap(2) to a place next to tracked memory may end its tracking (seen with Linux 6.18), which
///   collect() tells as EPERM.
///
/// What was tracked lives on when it ends. Member functions may be called from any thread.
class UFFDPP_EXPORT write_tracker {
 public:
  /// Throws std::system_error as handle::open() does: a kernel that can't is ENOTSUP, and named.
  explicit write_tracker(const open_options& open = {});

  /// Tracks memory from now on; `page` is how many bytes a page of it has. Throws
  /// std::system_error: EINVAL for what isn't aligned to that or no such memory, EINVAL or ENOMEM
  /// for what is not mapped, EBUSY for what is registered with another userfaultfd.
  tracked_memory track(page_range memory, std::size_t page = page_size()) const;
  /// Tracks all of a mapping, which must outlive it.
  tracked_memory track(const mapping& memory) const {
    return track(memory.range(), memory.page_size());
  }

 private:
  std::shared_ptr<detail::written_page_scan> by_;
};

}  // namespace uffd
