// SPDX-License-Identifier: MIT
/// \file
/// Memory whose pages come from a source.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <type_traits>

#include "uffd/detail/export.hpp"
#include "uffd/pager/map_options.hpp"
#include "uffd/pager/page_sharing.hpp"
#include "uffd/pager/recording.hpp"
#include "uffd/pager/working_set.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

class pager;

namespace detail {
class paged_region;
struct mapped_source;
struct paged_memory_access;
}  // namespace detail

/// What was done for one mapping; zero unless pager_options::statistics.
struct paged_memory_statistics {
  std::uint64_t faults = 0;         ///< page faults that were answered, those tried again included
  std::uint64_t source_reads = 0;   ///< calls of the source's read()
  std::uint64_t pages_loaded = 0;   ///< pages installed
  std::uint64_t pages_evicted = 0;  ///< pages dropped
  std::uint64_t source_writes = 0;  ///< calls of the source's write()
  std::uint64_t pages_written = 0;  ///< pages written back
};

/// Which access a pin is for.
enum class pin_access {
  read,   ///< pages are there
  write,  ///< pages are there and can be written without a fault, but for one after each snapshot
          ///< (uffd::snapshotter); they count as written
};

/// Keeps pages where they are until it ends: they are there, also for system calls and for
/// input and output that bypasses the processor. Must end before its paged_memory. Move-only.
class [[nodiscard]] UFFDPP_EXPORT pinned_pages {
 public:
  /// Pins nothing.
  pinned_pages() noexcept = default;
  pinned_pages(pinned_pages&& other) noexcept;
  pinned_pages& operator=(pinned_pages&& other) noexcept;
  ~pinned_pages();

  /// What was pinned, as it was asked for.
  std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  friend class paged_memory;
  pinned_pages(detail::paged_region& owner, std::span<std::byte> bytes) noexcept
      : owner_(&owner), bytes_(bytes) {}

  detail::paged_region* owner_ = nullptr;
  std::span<std::byte> bytes_;
};

/// How a working set is read.
struct replay_options {
  /// Threads that read at once, the caller's among them; fewer where no more can be started.
  unsigned readers = 4;
  /// Bytes: parts of the source that are no further apart are read at once, with what lies between
  /// them, which then takes room too. For sources that take long for each read.
  std::size_t gap = 0;
};

/// Memory that fills itself from a source, page by page, when it is touched; made by pager::map().
/// It may be used from any number of threads. A page that can't be had is SIGBUS for whoever
/// touches it, and never shows anything else; the source's error is that of prefetch() and pin().
///
/// It may not be unmapped, moved, protected, registered with userfaultfd or advised away by others
/// (what was dropped comes from the source again). Forked children don't inherit it (SIGSEGV).
///
/// Its end writes back what was written (write_policy::write_back), as flush() would, and unmaps;
/// an error is lost then, so call flush() before. Nobody may touch the memory any more. Move-only;
/// a moved-from one may only be assigned to or end.
class UFFDPP_EXPORT paged_memory {
 public:
  paged_memory(paged_memory&& other) noexcept;
  paged_memory& operator=(paged_memory&& other) noexcept;
  ~paged_memory();

  /// As many bytes as the source has; what follows them on the last page are zeroes.
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// The same, to be written. Throws std::system_error (EROFS) with write_policy::none.
  std::span<std::byte> writable_bytes() const;
  /// The same as whole objects of T; what is left at the end is not among them.
  template <class T>
  requires std::is_trivially_copyable_v<T> std::span<const T> as()
  const noexcept { return {reinterpret_cast<const T*>(bytes_.data()), bytes_.size() / sizeof(T)}; }
  /// The same, to be written. Throws as writable_bytes().
  template <class T>
  requires std::is_trivially_copyable_v<T> std::span<T> writable_as()
  const {
    const auto all = writable_bytes();
    return {reinterpret_cast<T*>(all.data()), all.size() / sizeof(T)};
  }
  /// Bytes in one of its pages.
  std::size_t page_size() const noexcept;

  /// Loads the pages of `part`, of bytes(), in the calling thread. The first error of the source,
  /// or ENOMEM where the budget has no room before the deadline; EINVAL for other memory. What is
  /// loaded may be evicted again at once.
  [[nodiscard]] std::error_code prefetch(std::span<const std::byte> part) const noexcept;
  /// Loads the pages of `part` and keeps them. Throws std::system_error: as prefetch() says, and
  /// EROFS for writing with write_policy::none. Pins may overlap.
  pinned_pages pin(std::span<const std::byte> part, pin_access access = pin_access::read) const;
  /// Records which pages are wanted from now on; costs a bit for each page, where some are. Throws
  /// std::system_error: EBUSY while it is recorded already, ENOMEM.
  recording record() const;
  /// Loads what another run wanted, in large reads. May be called on a thread of the caller's while
  /// others use the memory. Where the budget has no more room it stops, which is no error: nothing
  /// is evicted for it. The first error of the source, which ends it too;
  /// working_set_error::other_source for a set of a source of other size or, where both have one,
  /// other identity(): a source that was written since may be one (a set with an empty source()
  /// fits all the same).
  [[nodiscard]] std::error_code replay(const working_set& wanted,
                                       const replay_options& options = {}) const noexcept;
  /// Shows the pages to the process at the other end of a connected Unix socket (SOCK_STREAM or
  /// SOCK_SEQPACKET), which waits for them (uffd::shared_pages): what it touches is loaded here.
  /// Throws std::system_error: EINVAL without page_backing::shared; EPROTO for an answer that is
  /// none to this; ENOMEM where the budget has no room for the buffers, half of it at most for
  /// all; and as handoff::send() and handoff::receive() say. A page that can't be had is SIGBUS for
  /// the other process, or the end of sharing where its kernel can't poison (before Linux 6.6).
  ///
  /// Whoever is given the pages may read all of the source; can keep this process's thread, and the
  /// end of the page_sharing, waiting by what he does to the handle that both share; holds pages
  /// that were not loaded as zeroes where he touches memory that he has not registered, which no
  /// budget counts; and can write to them where he is of the same user or has CAP_DAC_OVERRIDE. So
  /// ask handoff::peer_of() first. Forked children of this process keep the connection.
  page_sharing share(unique_fd socket, const sharing_options& options = {}) const;
  /// How it will be used from now on.
  void advise(access_pattern expected) const noexcept;
  /// Returns once all that was written before is in the source, and the source has flushed it.
  /// The first error that there was since the last call, also one of a write in the background;
  /// what could not be written is kept, and written again later. Nothing to do but with
  /// write_policy::write_back.
  [[nodiscard]] std::error_code flush() const noexcept;
  /// What was done.
  paged_memory_statistics statistics() const noexcept;

 private:
  friend class pager;
  friend struct detail::paged_memory_access;
  explicit paged_memory(std::unique_ptr<detail::mapped_source> mapped) noexcept;

  std::unique_ptr<detail::mapped_source> mapped_;
  std::span<std::byte> bytes_;
};

}  // namespace uffd
