// SPDX-License-Identifier: MIT
/// \file
/// What a registration is, and what its end leaves behind.
#pragma once

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "uffd/error.hpp"
#include "uffd/flags.hpp"
#include "uffd/page_range.hpp"

namespace uffd {

/// What was registered, and what the kernel answered.
struct region_info {
  page_range range = {};            ///< whole pages
  std::size_t page_size = 0;        ///< bytes in one of its pages
  flags<register_mode> modes = {};  ///< which faults it raises
  flags<range_ioctl> ioctls = {};   ///< what the kernel offers to do to it
  std::uint64_t tag = 0;            ///< the caller's own
  /// Bytes before `range` in what was served first: not 0 for what is left of a range that was
  /// moved or unmapped in part, when a successor takes it over.
  std::size_t offset = 0;
  /// Whether it was dropped since, where that was tracked (fault_handler_options::tracks_removals):
  /// so that a successor knows.
  bool removed = false;

  /// All the same.
  friend constexpr bool operator==(const region_info&, const region_info&) noexcept = default;
};

/// What the end of a registration leaves where pages are missing.
enum class close_policy {
  inaccessible,  ///< SIGBUS or SIGSEGV for whoever touches what is missing (see uffd::region)
  leave_zero,    ///< the kernel's own way: zeroes
};

namespace detail {

inline void check_alignment(const region_info& info) {
  if (!std::has_single_bit(info.page_size) || info.page_size < uffd::page_size())
    throw_errno(EINVAL, "region: " + std::to_string(info.page_size) + " bytes is no page size");
  if (info.range.empty()) throw_errno(EINVAL, "region " + to_string(info.range) + ": empty");
  if (info.range.wraps() || !info.range.is_aligned(info.page_size))
    throw_errno(EINVAL, "region " + to_string(info.range) + ": not aligned to pages of " +
                            std::to_string(info.page_size) + " bytes");
}

}  // namespace detail
}  // namespace uffd
