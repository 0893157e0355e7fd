// SPDX-License-Identifier: MIT
// What a snapshot's file has of each block, in memory.
#pragma once

#include <sys/mman.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "tracking/snapshot_format.hpp"
#include "uffd/mapping.hpp"
#include "uffd/tracking/snapshot_file.hpp"

namespace uffd::detail {

// A number for each block; 8 bytes, of which memory is taken when they are first set. Different
// blocks may be set from several threads at once.
class snapshot_index {
 public:
  static constexpr std::uint64_t inherited = 0;
  static constexpr std::uint64_t zero = 1;
  // What tells the block of that checksum from the two above.
  static constexpr std::uint64_t saved(std::uint64_t checksum) noexcept {
    return checksum < 2 ? checksum + 2 : checksum;
  }

  // All inherited. Throws std::system_error (ENOMEM).
  explicit snapshot_index(const snapshot_layout& layout)
      : layout_(&layout), memory_(mapping::anonymous(layout.index_size())) {
    ::madvise(memory_.bytes().data(), memory_.bytes().size(), MADV_NOHUGEPAGE);
  }

  std::uint64_t get(std::size_t area, std::size_t block) const noexcept {
    return words()[word_of(area, block)];
  }
  void set(std::size_t area, std::size_t block, std::uint64_t number) noexcept {
    words()[word_of(area, block)] = number;
  }

  // As it is in the file, checked part by part: memory is taken for those only that are right, and
  // tell of something. Once.
  std::error_code read(int file, const snapshot_identity& identity) noexcept;
  // Of those that were read.
  std::uint64_t saved_blocks() const noexcept { return saved_blocks_; }
  // With its checksums.
  std::error_code write(int file, const snapshot_identity& identity) const noexcept;

 private:
  void take(std::size_t at, std::span<const std::uint64_t> part) noexcept;
  std::size_t word_of(std::size_t area, std::size_t block) const noexcept {
    const auto begin = (layout_->of_area(area).index - layout_->header_size()) / 8;
    return begin + block / index_part_blocks * (index_part_blocks + 1) + block % index_part_blocks;
  }
  std::span<std::uint64_t> words() const noexcept {
    return {reinterpret_cast<std::uint64_t*>(memory_.bytes().data()), layout_->index_size() / 8};
  }

  const snapshot_layout* layout_;
  mapping memory_;
  std::uint64_t saved_blocks_ = 0;
};

}  // namespace uffd::detail
