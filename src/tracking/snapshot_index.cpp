// SPDX-License-Identifier: MIT
#include "tracking/snapshot_index.hpp"

#include <algorithm>
#include <array>

#include "tracking/block_checksum.hpp"
#include "tracking/file_bytes.hpp"
#include "tracking/zeroes.hpp"

namespace uffd::detail {
namespace {

constexpr std::size_t words_per_part = index_part_blocks + 1;
static_assert(words_per_part * sizeof(std::uint64_t) == index_part_size);

// Read and written through a buffer: parts of which nothing was set take no memory.
using index_parts = std::array<std::uint64_t, 8 * words_per_part>;

// From this machine's order to the file's, or back.
std::uint64_t little_endian(std::uint64_t number) noexcept {
  if constexpr (std::endian::native == std::endian::little)
    return number;
  else
    return __builtin_bswap64(number);
}

void swap_bytes(std::span<std::uint64_t> words) noexcept {
  if constexpr (std::endian::native != std::endian::little)
    for (auto& word : words) word = little_endian(word);
}

// A part is right at its place of its file only.
std::uint64_t checksum_of_part(std::span<const std::uint64_t> part, std::size_t which,
                               const snapshot_identity& identity) noexcept {
  std::uint64_t seed = which;
  for (std::size_t i = 0; i < sizeof seed; ++i) seed ^= std::uint64_t{identity.bytes[i]} << (8 * i);
  return checksum_of(std::as_bytes(part.first(index_part_blocks)), seed);
}

}  // namespace

std::error_code snapshot_index::read(int file, const snapshot_identity& identity) noexcept {
  index_parts buffer;
  for (std::size_t done = 0; done < words().size();) {
    const auto step = std::span(buffer).first(std::min(buffer.size(), words().size() - done));
    if (const auto error = read_bytes(file, layout_->header_size() + done * sizeof step[0],
                                      std::as_writable_bytes(step)))
      return error;
    for (std::size_t i = 0; i < step.size(); i += words_per_part, done += words_per_part) {
      const auto part = step.subspan(i, words_per_part);
      if (little_endian(part.back()) != checksum_of_part(part, done / words_per_part, identity))
        return snapshot_error::damaged;
      swap_bytes(part);
      take(done, part.first(index_part_blocks));
    }
  }
  return {};
}

void snapshot_index::take(std::size_t at, std::span<const std::uint64_t> part) noexcept {
  if (is_zero(std::as_bytes(part))) return;
  std::copy(part.begin(), part.end(), words().subspan(at).begin());
  saved_blocks_ += static_cast<std::uint64_t>(
      std::count_if(part.begin(), part.end(), [](std::uint64_t number) { return number > zero; }));
}

std::error_code snapshot_index::write(int file, const snapshot_identity& identity) const noexcept {
  index_parts buffer;
  for (std::size_t done = 0; done < words().size();) {
    const auto step = std::span(buffer).first(std::min(buffer.size(), words().size() - done));
    const auto from = words().subspan(done, step.size());
    std::copy(from.begin(), from.end(), step.begin());
    swap_bytes(step);
    for (std::size_t i = 0; i < step.size(); i += words_per_part) {
      const auto part = step.subspan(i, words_per_part);
      part.back() = little_endian(checksum_of_part(part, (done + i) / words_per_part, identity));
    }
    if (const auto error =
            write_bytes(file, layout_->header_size() + done * sizeof step[0], std::as_bytes(step)))
      return error;
    done += step.size();
  }
  return {};
}

}  // namespace uffd::detail
