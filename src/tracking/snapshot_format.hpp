// SPDX-License-Identifier: MIT
// What stands before the index of a snapshot's file, and where all else lies; snapshot_file.hpp
// says what the numbers mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "uffd/tracking/snapshot_file.hpp"

namespace uffd::detail {

inline constexpr std::size_t snapshot_header_size = 512;
inline constexpr std::size_t snapshot_alignment = 4096;
inline constexpr std::size_t most_snapshot_areas = 65'536;
inline constexpr std::size_t longest_base_name = 255;
// A part of the index: numbers of blocks, and their checksum.
inline constexpr std::size_t index_part_size = 4096;
inline constexpr std::size_t index_part_blocks = index_part_size / 8 - 1;

struct snapshot_header {
  snapshot_identity identity;
  std::optional<snapshot_identity> base;
  std::string base_name;
  std::size_t block = 0;
  std::vector<snapshot_area> areas;
};

// What can't be saved or was not, in words; empty: it can.
std::string problem_of(std::size_t block, std::span<const snapshot_area> areas);

// Whether what changed in one can be laid over the other: they may have lain elsewhere.
bool have_same_pages(std::span<const snapshot_area> one, std::span<const snapshot_area> other);

// Where what lies, in bytes from the begin of the file.
class snapshot_layout {
 public:
  struct place {
    std::uint64_t index = 0;
    std::uint64_t data = 0;
  };

  // Nothing where no file can be as large. Of areas that have no problem.
  static std::optional<snapshot_layout> of(std::size_t block, std::span<const snapshot_area> areas);

  // All that stands before the index.
  std::size_t header_size() const noexcept { return header_size_; }
  std::uint64_t index_size() const noexcept { return index_size_; }
  std::uint64_t file_size() const noexcept { return file_size_; }
  const place& of_area(std::size_t area) const noexcept { return places_[area]; }

 private:
  std::size_t header_size_ = 0;
  std::uint64_t index_size_ = 0;
  std::uint64_t file_size_ = 0;
  std::vector<place> places_;
};

// layout.header_size() bytes.
std::vector<std::byte> encode_snapshot_header(const snapshot_header& header,
                                              const snapshot_layout& layout);

// Of the first bytes of a file, snapshot_header_size at most: how many stand before the index.
// Whether there are as many is for the caller to find out.
std::error_code decode_snapshot_size(std::span<const std::byte> bytes, std::size_t& header_size);
// Of all that stands before the index of a file of `file_size` bytes; snapshot_error::damaged where
// `bytes` are not as many as the header says.
std::error_code decode_snapshot_header(std::span<const std::byte> bytes, std::uint64_t file_size,
                                       snapshot_header& header);

inline constexpr std::size_t snapshot_checksum_offset = 16;
// With zeroes where the checksum stands.
std::uint64_t snapshot_header_checksum(std::vector<std::byte> bytes);

}  // namespace uffd::detail
