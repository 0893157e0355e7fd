// SPDX-License-Identifier: MIT
// A file of blocks that are compressed one by one, so that each can be had without the others.
#pragma once

#include <uffd/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace compressed_pages {

class container {
 public:
  static constexpr std::size_t block_size = std::size_t{64} << 10;

  // Packs the file `path` into a temporary one without a name. Throws std::system_error.
  explicit container(const std::string& path);

  // Bytes there were, and bytes there are.
  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t packed_size() const noexcept { return begins_.back(); }
  std::size_t blocks() const noexcept { return begins_.size() - 1; }
  // Bytes of a block that is not packed; of the last one as many as are left.
  std::size_t size_of(std::size_t block) const noexcept;

  // Unpacks a block into `to`, of size_of(block) bytes. From any thread.
  std::error_code unpack(std::size_t block, std::span<std::byte> to) const noexcept;

 private:
  uffd::unique_fd packed_;
  std::uint64_t size_ = 0;
  std::vector<std::uint64_t> begins_{0};  // of each block in packed_, and the end
};

}  // namespace compressed_pages
