// SPDX-License-Identifier: MIT
/// \file
/// The policy around each ioctl that resolves a fault: partial progress, pages that are there
/// already, markers on missing pages, borders of mappings, processes that are gone.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "uffd/error.hpp"
#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"

namespace uffd {

/// What became of a fault: a callback's answer. resolved, retry, gone, deferred, or failed with an
/// error; an error code converts to the last.
class [[nodiscard]] resolution {
 public:
  /// The kinds of answers.
  enum class state : std::uint8_t { resolved, retry, gone, deferred, failed };

  /// The page is there, and whoever waited was woken.
  static constexpr resolution resolved() noexcept { return {state::resolved, 0, nullptr}; }
  /// Not now (EAGAIN): try again a little later.
  static constexpr resolution retry() noexcept { return {state::retry, 0, nullptr}; }
  /// Nothing to resolve any more: range, registration or process are gone, or the fault is outdated
  /// and was woken to be raised anew.
  static constexpr resolution gone() noexcept { return {state::gone, 0, nullptr}; }
  /// A deferred_fault answers later.
  static constexpr resolution deferred() noexcept { return {state::deferred, 0, nullptr}; }
  /// It can't be resolved, because of `error`; no error counts as EIO.
  resolution(std::error_code error) noexcept
      : state_(state::failed),
        number_(error ? error.value() : EIO),
        category_(error ? &error.category() : &std::generic_category()) {}
  /// It can't be resolved, because of `error`.
  resolution(std::errc error) noexcept : resolution(std::make_error_code(error)) {}

  /// Which kind of answer.
  constexpr state kind() const noexcept { return state_; }
  /// True for resolved().
  constexpr bool is_resolved() const noexcept { return state_ == state::resolved; }
  /// The error of a failed one, else none.
  std::error_code error() const noexcept {
    return category_ != nullptr ? std::error_code(number_, *category_) : std::error_code();
  }

 private:
  constexpr resolution(state kind, int number, const std::error_category* category) noexcept
      : state_(kind), number_(number), category_(category) {}

  state state_;
  int number_;
  const std::error_category* category_;
};

/// Each function resolves `range` (whole pages, within one registration) and wakes those who wait
/// for it. None throws, allocates or blocks longer than its ioctls. EEXIST counts as resolved once
/// the page is really there; a write-protect marker on a missing page is taken off the way. EAGAIN
/// without progress is retry(); ENOENT and ESRCH are gone(); any other errno is failed. `page` is
/// the size of the pages in bytes.
namespace resolve {

/// UFFDIO_COPY of `from` to the pages at `to`. Where no huge page is left newer kernels (6.18)
/// answer EEXIST too: resolved, although nothing was done.
resolution copy(const handle& on, std::uintptr_t to, std::span<const std::byte> from,
                flags<fill_mode> mode = {}, std::size_t page = page_size()) noexcept;
/// UFFDIO_ZEROPAGE, where the kernel has none for this memory (huge pages: EINVAL) failed. A page
/// with a write-protect marker stays write-protected, but for shared memory, where the kernel drops
/// the mark: copy zeroes there with fill_mode::write_protect.
resolution zeropage(const handle& on, page_range range, std::size_t page = page_size()) noexcept;
/// UFFDIO_MOVE of the pages `from` to `to`. A hole in `from` is failed with EFAULT, unless it is
/// allowed.
resolution move(const handle& on, std::uintptr_t to, page_range from, flags<move_mode> mode = {},
                std::size_t page = page_size()) noexcept;
/// UFFDIO_CONTINUE.
resolution continue_(const handle& on, page_range range, flags<fill_mode> mode = {},
                     std::size_t page = page_size()) noexcept;
/// UFFDIO_POISON. Where another process's page answers EEXIST, nobody can tell a marker from a
/// page: a write-protected page is unprotected for a moment, and any page that is there ends up
/// protected.
resolution poison(const handle& on, page_range range, std::size_t page = page_size()) noexcept;
/// UFFDIO_WRITEPROTECT that lets writes through.
resolution unprotect(const handle& on, page_range range) noexcept;
/// UFFDIO_RWPROTECT that lets every access through, Linux 7.3.
resolution read_write_unprotect(const handle& on, page_range range) noexcept;

}  // namespace resolve
}  // namespace uffd

#include "uffd/detail/resolve.ipp"
