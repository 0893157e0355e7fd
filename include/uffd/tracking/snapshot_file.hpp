// SPDX-License-Identifier: MIT
/// \file
/// One file of a snapshot: what memory was at one moment, or what of it had changed since another.
///
/// The format, version 1. All numbers are little-endian. A block is the unit of what is stored and
/// checked: as many bytes as a small page of the machine that saved; pages of an area are one block
/// or several.
///
///     header    8  "uffdsnap"
///               4  version: 1
///               4  byte order of the machine, and so of what its memory holds. 1: little-endian,
///                  2: big-endian
///               8  checksum of all that stands before the index, with zeroes here
///               8  bytes of the file
///              16  identity: random
///              16  identity of the base; zeroes: it has none
///               4  bytes of a block, a power of two from 4096 to 65536
///               4  areas, 1 to 65536
///               4  bytes of the base's name
///               4  flags: 0, none is known
///             176  zeroes
///             256  the name of the base's file, without its folder; zeroes follow
///     areas    40  for each: 8 first address, 8 bytes, 8 bytes of a page, 8 where in the file its
///                  pages begin, 8 where its index begins
///               -  zeroes up to a multiple of 4096
///     index  4096  for each 511 blocks of an area, and for what is left of them: 511 numbers of 8
///                  bytes, one for each block, and the checksum of these (its seed: the first 8
///                  bytes of the identity, xor which of all such parts of the index it is).
///                  0: the block is as in the base, or zeroes where there is none; 1: it is
///                  zeroes; else the checksum of its bytes, plus 2 if that is less than 2
///     pages     -  of each area, one after the other, from a multiple of its page's bytes on. What
///                  is not stored is a hole, and in no checksum: nobody reads it
///
/// Checksums are XXH3 of 64 bits. The header is written last, when all else has reached the disk:
/// a file is complete if it has one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>

#include "uffd/detail/export.hpp"
#include "uffd/page_range.hpp"

namespace uffd {

namespace detail {
class opened_snapshot;
}  // namespace detail

/// Why a snapshot can't be used.
enum class snapshot_error {
  /// It is something else.
  foreign = 1,
  /// It has a format that this version of the library does not know.
  unknown_version,
  /// It was saved by a machine with another byte order.
  other_byte_order,
  /// Whoever saved it did not come to the end.
  incomplete,
  /// It has become shorter.
  truncated,
  /// It was changed after it was saved.
  damaged,
  /// What it is based on is missing.
  no_base,
  /// It is based on something else.
  other_base,
  /// Its areas are not those of its base.
  other_areas,
};

/// Makes std::error_code from uffd::snapshot_error; its category is called "snapshot". A pager
/// takes none of them for one that passes (uffd::is_transient()).
UFFDPP_EXPORT std::error_code make_error_code(snapshot_error value) noexcept;

/// Memory that a snapshot has.
struct snapshot_area {
  page_range range;           ///< where it lay
  std::size_t page_size = 0;  ///< bytes in one of its pages
};

/// Which snapshot it is: random, of 128 bits.
struct snapshot_identity {
  std::array<std::uint8_t, 16> bytes{};  ///< as they are in the file

  friend bool operator==(const snapshot_identity&, const snapshot_identity&) = default;
};

/// The identity as 32 digits 0-9a-f.
UFFDPP_EXPORT std::string to_string(const snapshot_identity& identity);

/// What a snapshot has of some memory.
enum class snapshot_content {
  inherited,  ///< nothing: it is as in the base
  zero,       ///< it is zeroes, for which nothing is stored
  saved,      ///< what it held
};

/// Neighbouring memory of an area of which a snapshot has the same kind of content; in bytes, from
/// the begin of the area. It may begin and end within a huge page.
struct snapshot_run {
  std::size_t offset = 0;
  std::size_t size = 0;
  snapshot_content content = snapshot_content::inherited;

  friend bool operator==(const snapshot_run&, const snapshot_run&) = default;
};

/// What a read of a snapshot gave.
struct snapshot_read {
  /// Bytes read and found right, from the first on. What follows them in the buffer is undefined.
  std::size_t bytes = 0;
  /// Why there are no more.
  std::error_code error;
};

namespace detail {

// Of a file or of a chain.
template <class Snapshot, class Each>
void each_snapshot_run(const Snapshot& of, std::size_t area, Each& each) {
  const auto size = area < of.areas().size() ? of.areas()[area].range.size() : 0;
  std::size_t offset = 0;
  do {
    const auto run = of.run_at(area, offset);
    offset += run.size;
    each(run);
  } while (offset < size);
}

}  // namespace detail

/// A finished snapshot's file, open. A cheap handle of shared state: copies refer to the same open
/// file. Nothing that it gives is unchecked: pages are compared with their checksums by each read.
/// Its index is kept in memory: 8 bytes for each block, where any near it (2 MiB) is not inherited.
/// Members may be called from several threads. Needs no userfaultfd.
class UFFDPP_EXPORT snapshot_file {
 public:
  /// Opens and checks `path`: all but the pages, for which there is verify(). Throws
  /// std::system_error with a snapshot_error that says what is wrong with the file, with the errno
  /// of open(2) or read(2), EISDIR for a folder, ESPIPE for a pipe or device, ENOMEM for an index
  /// that has no room.
  static snapshot_file open(const std::filesystem::path& path);

  /// As it was opened.
  const std::filesystem::path& path() const noexcept;
  /// Which snapshot it is.
  const snapshot_identity& identity() const noexcept;
  /// The snapshot without which it can't be restored; nothing: it has all.
  const std::optional<snapshot_identity>& base() const noexcept;
  /// What the base's file was called, without its folder; empty where there is no base.
  const std::string& base_name() const noexcept;
  /// The memory that was saved.
  std::span<const snapshot_area> areas() const noexcept;
  /// Bytes of pages that it stores.
  std::uint64_t saved_bytes() const noexcept;
  /// Bytes of the unit in which pages are stored and checked.
  std::size_t block_size() const noexcept;

  /// What it has from `offset` (a multiple of block_size()) on. Throws std::system_error (EINVAL)
  /// for what lies in no area.
  snapshot_run run_at(std::size_t area, std::size_t offset) const;
  /// Calls each(snapshot_run) for all of an area, in ascending order. Throws as run_at() does.
  template <class Each>
  requires std::is_invocable_v<Each&, snapshot_run>
  void each_run(std::size_t area, Each&& each) const {
    detail::each_snapshot_run(*this, area, each);
  }

  /// Reads any part of an area that it has itself, without allocating. snapshot_error::damaged or
  /// snapshot_error::truncated for a page that is not as it was saved, snapshot_error::no_base for
  /// one that the base has, EINVAL for what lies in no area, or the errno of pread(2).
  snapshot_read read(std::size_t area, std::size_t offset, std::span<std::byte> to) const noexcept;
  /// Reads all pages that it has. Throws std::system_error as read() says; its text names file,
  /// area and offset.
  void verify() const;

  /// The descriptor, to map pages by; nobody checks what such a mapping shows, and pages of the
  /// base are zeroes in it.
  int fd() const noexcept;
  /// Where in the file the first page of an area lies: a multiple of its page's bytes. Throws
  /// std::system_error (EINVAL) where there is no such area.
  std::uint64_t data_offset(std::size_t area) const;

 private:
  friend class snapshot_chain;
  explicit snapshot_file(std::shared_ptr<const detail::opened_snapshot> opened) noexcept;
  // In `most` bytes at most; of what lies in an area.
  snapshot_run run_within(std::size_t area, std::size_t offset, std::size_t most) const noexcept;

  std::shared_ptr<const detail::opened_snapshot> opened_;
};

}  // namespace uffd

template <>
struct std::is_error_code_enum<uffd::snapshot_error> : std::true_type {};
