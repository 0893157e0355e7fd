// SPDX-License-Identifier: MIT
/// \file
/// A fault as a callback sees it: where, why, and everything that can be done about it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "uffd/detail/export.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/message.hpp"
#include "uffd/page_range.hpp"
#include "uffd/range_table.hpp"
#include "uffd/region_info.hpp"
#include "uffd/resolve.hpp"

namespace uffd {

class deferred_fault;

namespace detail {
class engine;
class in_thread_server;
struct address_space;
struct served_range;

// A fault on its way: what was read, and when.
struct pending_fault {
  page_fault event;
  address_space* space = nullptr;
  std::uint64_t generation = 0;  // events read when this was read or dispatched again
  std::int64_t read_at = 0;      // nanoseconds, with statistics
};

}  // namespace detail

/// A thread waits for a page; the callback that is given this answers with a resolution. Every
/// function below that resolves returns one that can be returned as the answer. They are noexcept,
/// don't allocate, and never install behind a page that was removed, moved or unmapped meanwhile:
/// such a fault is woken and comes again (resolution::gone()). A range
/// that isn't all inside the served one, or not whole pages, is refused with EINVAL. Valid inside
/// the callback and on its thread; not copyable.
class UFFDPP_EXPORT fault {
 public:
  fault(const fault&) = delete;
  fault& operator=(const fault&) = delete;

  /// The page, by the page size of its region.
  page_range page() const noexcept { return page_; }
  /// Bytes from the begin of the served range to the page, also after it was moved by mremap.
  std::size_t offset() const noexcept { return offset_; }
  /// The served range as it was registered.
  const region_info& region() const noexcept { return *region_; }
  /// The served range's tag.
  std::uint64_t tag() const noexcept { return region_->tag; }
  /// Which address space: 0 is that of the handle, forked children count from 1.
  std::size_t space() const noexcept;
  /// True if the page was dropped since it was served (MADV_DONTNEED, MADV_FREE, MADV_REMOVE), also
  /// in the process it was forked from. Known only with fault_handler_options::tracks_removals.
  /// Private memory reads as zeroes then, whatever it was filled with first; for shared memory the
  /// kernel doesn't tell MADV_REMOVE, which leaves zeroes, from MADV_DONTNEED, which leaves the
  /// content.
  bool was_removed() const noexcept { return was_removed_; }
  /// What the thread waits for.
  fault_kind kind() const noexcept { return pending_.event.kind(); }
  /// True if it was a write.
  bool is_write() const noexcept { return pending_.event.is_write(); }
  /// The kernel's message.
  const page_fault& event() const noexcept { return pending_.event; }
  /// The handle of the address space; what is done through it directly is not guarded against
  /// events.
  const handle& on() const noexcept;

  /// The block of `bytes` (a power of two, at least a page) around the page, aligned by its offset
  /// in the served range and cut to where that range lies contiguous.
  page_range block(std::size_t bytes) const noexcept;
  /// Bytes from the begin of the served range to that of `range`.
  std::size_t offset_of(page_range range) const noexcept {
    return offset_ + range.begin() - page_.begin();
  }

  /// A buffer for this fault alone, one page of the region long. Never in registered memory, not
  /// inherited by children. Its content is what an earlier fault left.
  std::span<std::byte> buffer() const noexcept { return buffer(page_.size()); }
  /// The same with `bytes` bytes; fewer if the handler's options give it less (buffer_size).
  std::span<std::byte> buffer(std::size_t bytes) const noexcept {
    return buffer_.first(bytes < buffer_.size() ? bytes : buffer_.size());
  }

  /// Copies whole pages from `from` to the page and those that follow it. Failed with ENOMEM where
  /// no huge page is left; newer kernels (6.18) tell of that as of a page that is there, and then
  /// it is known only once the fault came back 256 times.
  resolution copy(std::span<const std::byte> from, flags<fill_mode> mode = {}) noexcept {
    return copy(page_range(page_.begin(), from.size()), from, mode);
  }
  /// Copies `from` to `to`, which has its size: block(), say.
  resolution copy(page_range to, std::span<const std::byte> from,
                  flags<fill_mode> mode = {}) noexcept;
  /// Copies the buffer to the page; what lies beyond `used` bytes becomes zero.
  resolution copy_buffer(std::size_t used, flags<fill_mode> mode = {}) noexcept {
    return copy_buffer(page_, used, mode);
  }
  /// Copies the buffer to `to`; what lies beyond `used` bytes becomes zero.
  resolution copy_buffer(page_range to, std::size_t used, flags<fill_mode> mode = {}) noexcept;
  /// Installs zeroes, for huge pages too.
  resolution zeropage() noexcept { return zeropage(page_); }
  /// Installs zeroes in `range`.
  resolution zeropage(page_range range) noexcept;
  /// Maps the page that is in the page cache. EFAULT: it was dropped from there since (MADV_REMOVE,
  /// fallocate(2)); where missing faults are served too, gone() lets it come again as one of those.
  resolution continue_(flags<fill_mode> mode = {}) noexcept { return continue_(page_, mode); }
  /// Maps the pages of `range` that are in the page cache.
  resolution continue_(page_range range, flags<fill_mode> mode = {}) noexcept;
  /// Moves pages here, to the page and those that follow it; `from` becomes a hole.
  resolution move(page_range from, flags<move_mode> mode = {}) noexcept;
  /// Lets writes to the page through, or every access where the fault is of read-write protection.
  resolution unprotect() noexcept { return unprotect(page_); }
  /// Lets writes to `range` through.
  resolution unprotect(page_range range) noexcept;
  /// SIGBUS for whoever waits for the page and for all who touch it later.
  resolution poison() noexcept;

  /// Takes the fault out of the callback to be resolved later, from any thread; the callback then
  /// returns resolution::deferred(). Doesn't allocate. Once for each fault. A sigbus_handler
  /// refuses: the result is empty, and the fault fails with ENOTSUP.
  [[nodiscard]] deferred_fault defer() noexcept;

 private:
  friend class detail::engine;
  friend class detail::in_thread_server;
  friend class deferred_fault;

  // Without an owner it is served in the thread that raised it.
  fault(detail::engine* owner, detail::served_range& client, const region_info& region,
        const detail::pending_fault& pending, page_range page, const range_table::entry& piece,
        std::span<std::byte> buffer) noexcept
      : owner_(owner),
        client_(&client),
        region_(&region),
        pending_(pending),
        page_(page),
        piece_(piece.range),
        offset_(piece.offset + (page.begin() - piece.range.begin())),
        buffer_(buffer),
        was_removed_(piece.removed) {}

  resolution copy_guarded(page_range to, std::span<const std::byte> from,
                          flags<fill_mode> mode) noexcept;
  template <class Operation>
  resolution guarded(page_range range, bool wakes, Operation&& operation) noexcept;

  detail::engine* owner_;
  detail::served_range* client_;
  const region_info* region_;
  const detail::pending_fault& pending_;
  page_range page_;
  page_range piece_;
  std::size_t offset_;
  std::span<std::byte> buffer_;
  bool was_removed_;
  bool answered_ = false;
  bool deferred_ = false;
  bool poisoned_ = false;
};

}  // namespace uffd
