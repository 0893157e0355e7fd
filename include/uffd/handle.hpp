// SPDX-License-Identifier: MIT
/// \file
/// THE handle: a userfaultfd, opened and negotiated, with every ioctl the kernel has for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "uffd/detail/adopt.hpp"
#include "uffd/detail/descriptor.hpp"
#include "uffd/detail/open.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/error.hpp"
#include "uffd/flags.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

namespace detail {
struct handle_access;
}

/// Whose memory a descriptor serves.
enum class memory_owner {
  this_process,     ///< ours: addresses may be protected and looked up here
  another_process,  ///< a forked child's, or that of whoever sent the descriptor
};

/// Owns a userfaultfd: always CLOEXEC and NONBLOCK, with its features negotiated. Move-only; the
/// descriptor closes with the last handle, region or handler that uses it. Set-up (open, adopt,
/// release, register_range) throws std::system_error; the operations of the fault path are noexcept
/// and answer an uffd::outcome. Those are const and may be called from any thread; a moved-from
/// handle answers EBADF, one used in a forked child EOWNERDEAD, and neither touches any memory.
/// Ranges are in bytes and aligned to the pages of their memory, else EINVAL. man 2 userfaultfd.
class handle {
 public:
  /// Opens a userfaultfd and negotiates its features. Throws std::system_error that names every way
  /// tried and what would permit it, or the features that can't be had (EINVAL; EPERM for
  /// feature::event_fork, which needs CAP_SYS_PTRACE).
  static handle open(const open_options& options = {});

  /// Takes over a descriptor whose features were negotiated before: one released, inherited or
  /// received. The kernel doesn't tell what it serves, so the caller states it. Sets O_NONBLOCK (on
  /// the open file, for all who share it) and CLOEXEC. Throws std::system_error: EINVAL if it isn't
  /// a userfaultfd, wasn't negotiated yet, or has other features than `stated`.
  static handle adopt(unique_fd descriptor, flags<feature> stated,
                      memory_owner owner = memory_owner::another_process);

  handle(handle&&) noexcept = default;
  handle& operator=(handle&&) noexcept = default;
  ~handle() = default;

  /// The descriptor, for the caller's own poll or epoll; -1 after a move and in a forked child.
  int fd() const noexcept {
    return state_ && state_->refusal() == 0 ? state_->descriptor.get() : -1;
  }
  /// What was negotiated; empty after a move.
  flags<feature> features() const noexcept { return state_ ? state_->features : flags<feature>(); }
  /// True if faults raised inside system calls are served; false where that isn't known (adopt).
  bool serves_kernel_faults() const noexcept { return state_ && state_->kernel_faults; }
  /// True if the memory is another process's.
  bool foreign() const noexcept { return state_ && state_->foreign; }

  /// Gives the descriptor away. Throws std::system_error (EBUSY) while a region, handler or other
  /// face of this descriptor lives.
  unique_fd release();

  /// Registers a range, UFFDIO_REGISTER, and answers what may be done to it. Throws
  /// std::system_error that names range and reason: EINVAL (unaligned, empty, nothing mapped, or
  /// memory that can't have these modes), EBUSY (another userfaultfd has it), EPERM (read-only
  /// shared memory). See uffd::region for a registration that ends by itself.
  flags<range_ioctl> register_range(page_range range, flags<register_mode> modes) const;

  /// UFFDIO_UNREGISTER, and a wake: the kernel by itself would leave write-protect and minor
  /// waiters asleep. Missing pages read as zeroes from then on; uffd::region ends with more care.
  /// ENOMEM: the process is gone; EINVAL: nothing is mapped there.
  outcome unregister(page_range range) const noexcept;

  /// UFFDIO_WAKE: threads waiting for the range try their access again. Works on unmapped ranges.
  outcome wake(page_range range) const noexcept;

  /// UFFDIO_COPY: installs pages at `to` with the bytes of `from`, atomically each, and wakes those
  /// who wait for them. `from` needs no alignment but whole pages; it must not lie in memory that
  /// the caller serves. Also heals poisoned pages and markers. EAGAIN with bytes: a later page was
  /// there. EEXIST: a page is there, or no huge page is left.
  outcome copy(std::uintptr_t to, std::span<const std::byte> from,
               flags<fill_mode> mode = {}) const noexcept;

  /// UFFDIO_ZEROPAGE: installs the zero page. EINVAL for huge pages: copy zeroes there.
  outcome zeropage(page_range range, flags<wake_mode> mode = {}) const noexcept;

  /// UFFDIO_MOVE, Linux 6.8: moves pages of private anonymous memory of this process, without
  /// copying; `from` becomes a hole. EBUSY: a page is pinned, or shared by fork or KSM. There is no
  /// write-protect mode and a mark on the source is lost.
  outcome move(std::uintptr_t to, page_range from, flags<move_mode> mode = {}) const noexcept;

  /// UFFDIO_CONTINUE, Linux 5.13: maps pages that are in the page cache already. EFAULT: they
  /// aren't. It can write-protect them from Linux 6.4 on (EINVAL before).
  outcome continue_(page_range range, flags<fill_mode> mode = {}) const noexcept;

  /// UFFDIO_POISON, Linux 6.6: the next access takes SIGBUS. copy() heals it.
  outcome poison(page_range range, flags<wake_mode> mode = {}) const noexcept;

  /// UFFDIO_WRITEPROTECT: the next write faults. Never cross a registration: what comes before the
  /// first unregistered page would stay protected (ENOENT). Before Linux 6.3 it also answers
  /// ENOENT, and protects nothing, where a range lies in several mappings: mprotect() or mremap()
  /// of a part makes some. Pages that the kernel merges later (KSM, MADV_MERGEABLE) are protected
  /// no more, and nobody hears of it (seen with Linux 6.18).
  outcome write_protect(page_range range) const noexcept;

  /// UFFDIO_WRITEPROTECT without the mark: writes go through, and waiters are woken.
  outcome write_unprotect(page_range range, flags<wake_mode> mode = {}) const noexcept;

  /// UFFDIO_RWPROTECT, Linux 7.3: the next access to a present page faults.
  outcome read_write_protect(page_range range) const noexcept;

  /// UFFDIO_RWPROTECT without the mark.
  outcome read_write_unprotect(page_range range, flags<wake_mode> mode = {}) const noexcept;

  /// UFFDIO_SET_MODE, Linux 7.3: switches feature::rwp_async while running. The answer's bytes are
  /// 0.
  outcome set_mode(flags<feature> enable, flags<feature> disable) const noexcept;

 private:
  friend struct detail::handle_access;

  explicit handle(detail::shared_descriptor state) noexcept : state_(std::move(state)) {}

  template <class Argument>
  outcome call(unsigned long request, Argument&& argument) const noexcept;
  outcome protect(unsigned long request, page_range range, std::uint64_t mode) const noexcept;

  detail::shared_descriptor state_;
};

}  // namespace uffd

#include "uffd/detail/handle.ipp"
