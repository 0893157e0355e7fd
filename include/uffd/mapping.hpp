// SPDX-License-Identifier: MIT
/// \file
/// Memory to be served: anonymous, shared, of huge pages.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "uffd/detail/process.hpp"
#include "uffd/error.hpp"
#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

/// Owns a mapping of this process's memory and unmaps it at its end. Sizes are rounded up to whole
/// pages of the mapping. Move-only; making one throws std::system_error (ENOMEM: too large, or for
/// huge pages that too few are reserved; EINVAL: no such page size). Unmapping memory under a
/// registration that hears of unmaps (feature::event_unmap) waits until that event is read.
class mapping {
 public:
  /// Private anonymous memory: register it for missing and write-protect faults.
  static mapping anonymous(std::size_t bytes) { return make(bytes, uffd::page_size(), false, {}); }
  /// Shared memory (memfd): for minor faults too; alias() maps it again.
  static mapping shared(std::size_t bytes) {
    return make(bytes, uffd::page_size(), true, memory_file(0, bytes, uffd::page_size()));
  }
  /// Private memory of huge pages of `page` bytes; they must be reserved (vm.nr_hugepages).
  static mapping huge(std::size_t bytes, std::size_t page) {
    return make(bytes, checked(page), false, {});
  }
  /// The same without any that are reserved beforehand: what is touched when the pool has none left
  /// is SIGBUS, what is copied there fails. An mlockall(2) before does not fill it.
  static mapping huge_unreserved(std::size_t bytes, std::size_t page) {
    auto made = make(bytes, checked(page), false, {}, MAP_NORESERVE, PROT_NONE);
    const auto all = made.bytes();
    ::munlock(all.data(), all.size());
    if (::mprotect(all.data(), all.size(), PROT_READ | PROT_WRITE) != 0)
      detail::throw_errno(errno, "mapping: mprotect");
    return made;
  }
  /// Shared memory (memfd) of huge pages of `page` bytes.
  static mapping shared_huge(std::size_t bytes, std::size_t page) {
    const unsigned size = size_flag(checked(page));
    return make(bytes, page, true, memory_file(MFD_HUGETLB | size, bytes, page));
  }

  mapping(mapping&& other) noexcept
      : memory_(std::exchange(other.memory_, {})),
        page_size_(other.page_size_),
        file_(std::move(other.file_)),
        kept_from_children_(other.kept_from_children_),
        home_(other.home_) {}
  mapping& operator=(mapping&& other) noexcept {
    mapping taken(std::move(other));
    std::swap(memory_, taken.memory_);
    std::swap(page_size_, taken.page_size_);
    std::swap(file_, taken.file_);
    std::swap(kept_from_children_, taken.kept_from_children_);
    std::swap(home_, taken.home_);
    return *this;
  }
  ~mapping() {
    // What a child did not inherit isn't there to be unmapped; something else may be.
    const bool absent = kept_from_children_ && home_.in_child();
    if (!memory_.empty() && !absent) ::munmap(memory_.data(), memory_.size());
  }

  /// Forked children don't inherit the memory (MADV_DONTFORK): touching it there is SIGSEGV. Throws
  /// std::system_error.
  void keep_from_children() {
    home_ = detail::process_mark::here();
    if (::madvise(memory_.data(), memory_.size(), MADV_DONTFORK) != 0)
      detail::throw_errno(errno, "mapping: MADV_DONTFORK");
    kept_from_children_ = true;
  }

  /// The same shared memory at another address, to fill pages through while this one is served.
  /// Throws std::system_error: EINVAL for private memory.
  mapping alias() const {
    if (!file_) detail::throw_errno(EINVAL, "mapping::alias: only shared memory has aliases");
    unique_fd again(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
    if (!again) detail::throw_errno(errno, "mapping::alias");
    return make(memory_.size(), page_size_, true, std::move(again));
  }

  /// The memory; empty after a move.
  std::span<std::byte> bytes() const noexcept { return memory_; }
  /// Its addresses.
  page_range range() const noexcept { return memory_; }
  /// Bytes in one of its pages.
  std::size_t page_size() const noexcept { return page_size_; }
  /// The memfd of shared memory, else -1.
  int file() const noexcept { return file_.get(); }

 private:
  mapping(std::span<std::byte> memory, std::size_t page, unique_fd file) noexcept
      : memory_(memory), page_size_(page), file_(std::move(file)) {}

  static std::size_t checked(std::size_t page) {
    if (!std::has_single_bit(page) || page < uffd::page_size())
      detail::throw_errno(EINVAL, "mapping: " + std::to_string(page) + " bytes is no page size");
    return page;
  }

  // Huge page sizes are named by their logarithm, the same way for mmap and memfd_create.
  static unsigned size_flag(std::size_t page) noexcept {
    return static_cast<unsigned>(std::countr_zero(page)) << MAP_HUGE_SHIFT;
  }

  static std::size_t rounded(std::size_t bytes, std::size_t page) {
    const std::size_t size = align_up(bytes, page);
    if (size == 0 || size < bytes)
      detail::throw_errno(EINVAL, "mapping: no mapping of " + std::to_string(bytes) + " bytes");
    return size;
  }

  static unique_fd memory_file(unsigned flags, std::size_t bytes, std::size_t page) {
    const std::size_t size = rounded(bytes, page);
    unique_fd file(::memfd_create("uffd", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(size)) != 0)
      // ENODEV is what mmap calls EINVAL: no such page size.
      detail::throw_errno(errno == ENODEV ? EINVAL : errno,
                          "mapping: memfd of " + std::to_string(size) + " bytes in pages of " +
                              std::to_string(page));
    return file;
  }

  static mapping make(std::size_t bytes, std::size_t page, bool is_shared, unique_fd file,
                      int reservation = 0, int protection = PROT_READ | PROT_WRITE) {
    const std::size_t size = rounded(bytes, page);
    int flags = is_shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (!is_shared && page != uffd::page_size())
      flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | static_cast<int>(size_flag(page)) |
              reservation;
    void* memory = ::mmap(nullptr, size, protection, flags, file.get(), 0);
    if (memory == MAP_FAILED)
      detail::throw_errno(
          errno,
          "mapping: " + std::to_string(size) + " bytes in pages of " + std::to_string(page) +
              (page == uffd::page_size() ? std::string()
                                         : ": are enough huge pages reserved (vm.nr_hugepages)?"));
    return {{static_cast<std::byte*>(memory), size}, page, std::move(file)};
  }

  std::span<std::byte> memory_;
  std::size_t page_size_ = 0;
  unique_fd file_;
  bool kept_from_children_ = false;
  detail::process_mark home_;
};

}  // namespace uffd
