// SPDX-License-Identifier: MIT
/// \file
/// A snapshot with all that it is based on: whole again.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <type_traits>
#include <vector>

#include "uffd/detail/export.hpp"
#include "uffd/tracking/snapshot_file.hpp"

namespace uffd {

/// What memory has before a snapshot is restored to it.
enum class restore_target {
  zeroes,    ///< zeroes, as a new mapping: only what is something else is written
  anything,  ///< what it has is overwritten
};

/// A snapshot and its bases, laid over each other: each page is that of the newest file that has
/// it. Copies refer to the same open files. Members may be called from several threads. Needs no
/// userfaultfd. One that was moved from may only be assigned to or end.
class UFFDPP_EXPORT snapshot_chain {
 public:
  /// Opens a snapshot and what it is based on: files of the same folder, or of that to which a
  /// symbolic link leads, that are called as they were then or, where such a one is missing or
  /// another snapshot, called differently. Throws std::system_error as snapshot_file::open() does,
  /// with the file at fault in its text, and snapshot_error::no_base, snapshot_error::other_areas.
  static snapshot_chain open(const std::filesystem::path& newest);
  /// Takes files in order: what has no base, what is based on that, and so on. Throws
  /// std::system_error: EINVAL for no file at all, snapshot_error::no_base,
  /// snapshot_error::other_base, snapshot_error::other_areas.
  explicit snapshot_chain(std::vector<snapshot_file> files);

  /// All files, the newest last.
  std::span<const snapshot_file> files() const noexcept { return files_; }
  /// The snapshot that this is.
  const snapshot_file& newest() const noexcept { return files_.back(); }
  /// The memory that was saved; addresses are the newest file's.
  std::span<const snapshot_area> areas() const noexcept { return newest().areas(); }

  /// What there is from `offset` (a multiple of newest().block_size()) on, from whatever file:
  /// snapshot_content::saved or snapshot_content::zero. Throws std::system_error (EINVAL) for what
  /// lies in no area.
  snapshot_run run_at(std::size_t area, std::size_t offset) const;
  /// Calls each(snapshot_run) for all of an area, in ascending order. Throws as run_at() does.
  template <class Each>
  requires std::is_invocable_v<Each&, snapshot_run>
  void each_run(std::size_t area, Each&& each) const {
    detail::each_snapshot_run(*this, area, each);
  }
  /// The file that has the bytes at `offset`. Throws std::system_error (EINVAL) for what lies in no
  /// area.
  const snapshot_file& holder_of(std::size_t area, std::size_t offset) const;

  /// Reads any part of an area, without allocating; errors are those of snapshot_file::read().
  snapshot_read read(std::size_t area, std::size_t offset, std::span<std::byte> to) const noexcept;
  /// Writes the whole snapshot to memory: for each area the span at the same place, of as many
  /// bytes. Nobody may use the memory meanwhile. Throws std::system_error: EINVAL for memory of
  /// other sizes, before anything is written; as read() says, with file, area and offset in its
  /// text, and then the memory is undefined.
  void restore(std::span<const std::span<std::byte>> memory,
               restore_target target = restore_target::zeroes) const;
  /// The same for a snapshot of one area.
  void restore(std::span<std::byte> memory, restore_target target = restore_target::zeroes) const {
    restore(std::span(&memory, 1), target);
  }
  /// Reads all pages of all files, those that newer files replace too. Throws as
  /// snapshot_file::verify() does.
  void verify() const;

 private:
  struct piece {
    const snapshot_file* holder = nullptr;
    snapshot_run run;
  };
  void check_inside(std::size_t area, std::size_t offset) const;
  piece piece_at(std::size_t area, std::size_t offset, std::size_t most) const noexcept;
  void restore(std::size_t area, std::span<std::byte> memory, restore_target target) const;

  std::vector<snapshot_file> files_;
};

}  // namespace uffd
