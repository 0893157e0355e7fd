// SPDX-License-Identifier: MIT
/// \file
/// A registered range that unregisters itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "uffd/detail/close_range.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"

namespace uffd {

/// A registration from its constructor to its end. It keeps the descriptor open, so handle and
/// region may end in any order.
///
/// The kernel's UNREGISTER would turn every page that is not there, and every fault that waits,
/// into zeroes. So a region that ends before complete() was called makes what is missing
/// inaccessible first: the missing pages are poisoned (SIGBUS; one page-table entry for each),
/// where the kernel can't do that (before 6.6) all that is registered of the range is protected
/// from all access (SIGSEGV). Then it unregisters and wakes. Memory that was unmapped and a process
/// that is gone are tolerated. A region that ends in a forked child changes nothing there. While an
/// event of the handle is unread, the end waits for its reader, five seconds at most, and then
/// protects.
///
/// Of private memory, missing is what is neither present nor swapped out. Of shared memory it is
/// every page that this mapping has not mapped: also one that is in the page cache, written through
/// another mapping, say, or that the kernel has swapped out since. It is poisoned in this mapping
/// alone: its content stays, and a child forked later finds it, or zeroes where there is none, for
/// children inherit the poison of private memory only. Where all that is needed lies in the page
/// cache, call complete(). What lies beyond the end of a file that was truncated is passed over:
/// every access there is SIGBUS.
///
/// Move-only. Distinct regions may be used from distinct threads.
class region {
 public:
  /// Registers `range`, whose pages have `page` bytes, for `modes`. `tag` is the caller's own.
  /// Throws std::system_error as handle::register_range() does, also if the range isn't aligned to
  /// `page`.
  region(const handle& on, page_range range, flags<register_mode> modes = register_mode::missing,
         std::size_t page = page_size(), std::uint64_t tag = 0)
      : on_(detail::handle_access::share(on)), info_{range, page, modes, {}, tag} {
    detail::check_alignment(info_);
    info_.ioctls = on_.register_range(range, modes);
    open_ = true;  // NOLINT(*-prefer-member-initializer): only once it is registered
  }
  /// Registers all of a mapping, which must outlive the region.
  region(const handle& on, const mapping& memory,
         flags<register_mode> modes = register_mode::missing, std::uint64_t tag = 0)
      : region(on, memory.range(), modes, memory.page_size(), tag) {}

  region(region&& other) noexcept
      : on_(std::move(other.on_)),
        info_(other.info_),
        open_(std::exchange(other.open_, false)),
        complete_(other.complete_) {}
  region& operator=(region&& other) noexcept {
    if (this != &other) {
      end();
      on_ = std::move(other.on_);
      info_ = other.info_;
      open_ = std::exchange(other.open_, false);
      complete_ = other.complete_;
    }
    return *this;
  }
  ~region() { end(); }

  /// What was registered.
  const region_info& info() const noexcept { return info_; }

  /// Declares that every page is there or may be read as zeroes: the end only unregisters and
  /// wakes.
  void complete() noexcept { complete_ = true; }

 private:
  void end() noexcept {
    if (!std::exchange(open_, false)) return;
    detail::close_range(on_, info_,
                        complete_ ? close_policy::leave_zero : close_policy::inaccessible);
  }

  handle on_;
  region_info info_;
  bool open_ = false;
  bool complete_ = false;
};

}  // namespace uffd
