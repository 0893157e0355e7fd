// SPDX-License-Identifier: MIT
/// \file
/// Pages that another process loads and keeps.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

#include "uffd/detail/export.hpp"
#include "uffd/pager/page_sharing.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

/// Memory to read whose pages are those of another process's paged_memory: that process loads what
/// is touched here, within its budget, and takes it away again. A page that it
/// can't have is SIGBUS for whoever touches it; once it ends, or ends its page_sharing, all of the
/// memory is inaccessible (SIGSEGV), for what it drops then would read as zeroes. While it is
/// stopped (SIGSTOP) faults wait.
///
/// System calls that meet a page which is not there wait too, where the handle serves kernel
/// faults, else they fail (EFAULT). Forked children don't inherit the memory (SIGSEGV).
///
/// It may be used from any number of threads; one thread of its own waits for the other process's
/// end. Nobody may touch the memory once this ends. Move-only; one that was moved from may only be
/// assigned to or end.
class UFFDPP_EXPORT shared_pages {
 public:
  /// Receives what paged_memory::share() shows at the other end of a connected Unix socket; of the
  /// options only the time limit counts. Throws
  /// std::system_error: as handle::open() does, where userfaultfd is not permitted or lacks
  /// feature::minor_shmem; EBADMSG for what is no such message, or of pages of another size; and as
  /// handoff::receive() and handoff::send() say.
  explicit shared_pages(unique_fd socket, const sharing_options& options = {});
  shared_pages(shared_pages&& other) noexcept;
  shared_pages& operator=(shared_pages&& other) noexcept;
  ~shared_pages();

  /// As many bytes as the source has; what follows them on the last page are zeroes.
  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// The same as whole objects of T; what is left at the end is not among them.
  template <class T>
  requires std::is_trivially_copyable_v<T> std::span<const T> as()
  const noexcept { return {reinterpret_cast<const T*>(bytes_.data()), bytes_.size() / sizeof(T)}; }
  /// True once the other process serves no more: then the memory is inaccessible.
  bool is_over() const noexcept;

 private:
  struct state;
  std::unique_ptr<state> state_;
  std::span<const std::byte> bytes_;
};

}  // namespace uffd
