// SPDX-License-Identifier: MIT
/// \file
/// What an address means: which served range it is in, and where in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "uffd/detail/export.hpp"
#include "uffd/message.hpp"
#include "uffd/page_range.hpp"

namespace uffd {

/// Maps addresses of one address space to the ranges served there and follows what the kernel's
/// events do to them: a range that is moved keeps its offsets, one that is unmapped in the middle
/// falls in two, and of what was dropped it is remembered that it was. Children of a fork start
/// with a copy. A plain value; lookups are a binary search and may run from several threads while
/// nobody changes it.
///
/// Not all that mremap does is told: a range that grows where it lies raises no event. A fault
/// behind the end of a range may come from there.
class UFFDPP_EXPORT range_table {
 public:
  /// One contiguous piece of a served range.
  struct entry {
    page_range range;        ///< where it is now
    std::size_t offset = 0;  ///< bytes from the begin of the range as it was inserted
    void* client = nullptr;  ///< whoever serves it; not owned, not looked at
    /// True if it was dropped since (remove_event), or left behind by MREMAP_DONTUNMAP. Private
    /// memory reads as zeroes there. For shared memory the kernel doesn't tell MADV_REMOVE, which
    /// leaves zeroes, from MADV_DONTNEED, which leaves the content.
    bool removed = false;
  };

  /// The piece that an address is in, or null. Valid until the table changes.
  const entry* find(std::uintptr_t address) const noexcept {
    const entry* last_before = entries_.data();
    for (auto count = entries_.size(); count > 1; count -= count / 2)
      if (last_before[count / 2].range.begin() <= address) last_before += count / 2;
    return !entries_.empty() && last_before->range.contains(address) ? last_before : nullptr;
  }

  /// Adds a range. Throws std::system_error (EEXIST) if it overlaps one that is there, EINVAL if it
  /// is empty.
  void insert(page_range range, void* client, std::size_t offset = 0, bool removed = false);
  /// Takes out what lies in `range`, splitting pieces at its borders.
  void erase(page_range range);
  /// Takes out all pieces of a client.
  void erase_client(const void* client);

  /// Follows an mremap: what lay in `from` lies at `to`, and what was at `to` is gone. With
  /// `unmap_follows`, `from` stays until an unmap_event takes it out: the kernel sends one where
  /// event_unmap is negotiated, but not for MREMAP_DONTUNMAP, which leaves `from` registered and
  /// empty.
  void apply(const remap_event& moved, bool unmap_follows = false);
  /// Follows an munmap.
  void apply(const unmap_event& unmapped);
  /// Follows a drop of pages: MADV_DONTNEED, MADV_FREE or MADV_REMOVE. What was dropped page by
  /// page and lies together becomes one piece again.
  void apply(const remove_event& removed);

  /// All pieces, by address.
  std::span<const entry> entries() const noexcept { return entries_; }

 private:
  void mark_removed(page_range range);

  std::vector<entry> entries_;
};

}  // namespace uffd
