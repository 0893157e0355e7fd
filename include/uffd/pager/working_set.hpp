// SPDX-License-Identifier: MIT
/// \file
/// Which parts of a source a program wanted, kept for its next run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "uffd/detail/export.hpp"

namespace uffd {

namespace detail {
struct working_set_content;
}  // namespace detail

/// Why a working set can't be used.
enum class working_set_error {
  /// What was to be loaded is something else.
  foreign = 1,
  /// It was saved in a format that this version of the library does not know.
  unknown_version,
  /// It was cut off or changed after it was saved.
  damaged,
  /// Its text has, or would have, more than 64 MiB.
  too_large,
  /// It is one of another source, or of other content.
  other_source,
};

/// Makes std::error_code from uffd::working_set_error; its category is called "working set".
UFFDPP_EXPORT std::error_code make_error_code(working_set_error value) noexcept;

/// Parts of a source, in whole pages: paged_memory::record() makes it, paged_memory::replay() uses
/// it. A hint only: whatever it says, memory shows what the source has. A value: distinct objects
/// may be used from distinct threads.
///
/// Its text, of lines that end with a line feed, numbers in decimal without leading zeroes:
///
///     uffd working set 1
///     source <identity; each byte but ! to ~, and each %, as % and two digits 0-9A-F>
///     size <bytes of the source>
///     page <bytes in a page, a power of two>
///     runs <how many lines follow>
///     <offset> <size>                     (bytes, ascending; neither overlapping nor touching)
///     checksum <FNV-1a of 64 bits of all that is above, 16 digits 0-9a-f>
class UFFDPP_EXPORT working_set {
 public:
  /// Neighbouring pages, in bytes. The last may end within a page, where the source ends.
  struct run {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;

    friend bool operator==(const run&, const run&) = default;
  };

  /// Nothing, of an empty source.
  working_set() noexcept = default;
  /// The pages that have a byte of `parts`, which may be in any order and overlap, of a source of
  /// `source_size` bytes. An empty `source` stands for any with as many bytes. Throws
  /// std::system_error (EINVAL) where a part isn't one of the source, or `page_size` no power of
  /// two.
  working_set(std::string source, std::uint64_t source_size, std::size_t page_size,
              std::span<const run> parts);

  /// The identity of the source; empty: of any.
  const std::string& source() const noexcept { return source_; }
  /// Bytes of the source.
  std::uint64_t source_size() const noexcept { return source_size_; }
  /// Bytes in a page of the mapping that was recorded.
  std::size_t page_size() const noexcept { return page_size_; }
  /// Ascending, neither overlapping nor touching.
  std::span<const run> runs() const noexcept { return runs_; }
  /// Bytes of all runs.
  std::uint64_t bytes() const noexcept;

  /// Whether it may be one of that source.
  bool is_of(std::string_view source, std::uint64_t source_size) const noexcept;
  /// Adds what another run of the program wanted. Throws std::system_error
  /// (working_set_error::other_source).
  void merge(const working_set& other);

  /// Writes it to a file, which is replaced at once: whoever reads it meanwhile, or after a crash,
  /// finds the old content or the new. Throws std::system_error with the errno of what failed, or
  /// working_set_error::too_large.
  void save(const std::filesystem::path& file) const;
  /// Reads what save() has written. Throws std::system_error with the errno of what failed, or a
  /// working_set_error; never takes more memory than a few times what the file has.
  static working_set load(const std::filesystem::path& file);

  /// What save() writes, to be kept elsewhere. Throws as save() does.
  std::string text() const;
  /// Throws as load() does.
  static working_set parse(std::string_view text);

  friend bool operator==(const working_set&, const working_set&) = default;

 private:
  explicit working_set(detail::working_set_content&& content) noexcept;

  std::string source_;
  std::uint64_t source_size_ = 0;
  std::size_t page_size_ = 1;
  std::vector<run> runs_;
};

}  // namespace uffd

template <>
struct std::is_error_code_enum<uffd::working_set_error> : std::true_type {};
