// SPDX-License-Identifier: MIT
/// \file
/// Finds out which pages a program wants.
#pragma once

#include "uffd/detail/export.hpp"
#include "uffd/pager/working_set.hpp"

namespace uffd {

class paged_memory;

namespace detail {
class paged_region;
}  // namespace detail

/// Records which pages of a mapping are wanted, from paged_memory::record() until it ends: those
/// that were touched while they were missing, in whole units (map_options::unit), and those that
/// were pinned. Not what was there before, nor what prefetch() and replay() brought, unless it was
/// gone again when it was touched. So it is begun before the memory is used.
///
/// What is touched while it is there can't be seen. So nothing is read ahead meanwhile, which makes
/// this run slower; but with access_pattern::sequential all that is read counts as wanted.
///
/// Must end before its paged_memory. Move-only. Each function may be called while others touch the
/// memory; distinct threads may not use the same object at once.
class [[nodiscard]] UFFDPP_EXPORT recording {
 public:
  recording(recording&& other) noexcept;
  recording& operator=(recording&& other) noexcept;
  /// Ends it, unless it has ended.
  ~recording();

  /// What was wanted until now. Throws std::system_error (EINVAL) after its end, std::bad_alloc,
  /// and what the source's identity() throws.
  working_set wanted() const;
  /// The same, and ends it, if it doesn't throw.
  working_set finish();

 private:
  friend class paged_memory;
  explicit recording(detail::paged_region& of) noexcept : of_(&of) {}
  void end() noexcept;

  detail::paged_region* of_ = nullptr;
};

}  // namespace uffd
