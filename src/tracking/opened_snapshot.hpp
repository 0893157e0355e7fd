// SPDX-License-Identifier: MIT
// The open file behind a snapshot_file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "tracking/snapshot_format.hpp"
#include "tracking/snapshot_index.hpp"
#include "uffd/tracking/snapshot_file.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

// A regular file and what stands before its index. Throws as snapshot_file::open() does.
struct snapshot_front {
  explicit snapshot_front(const std::filesystem::path& path);

  unique_fd file;
  snapshot_header header;
};

class opened_snapshot {
 public:
  // Throws as snapshot_file::open() does.
  explicit opened_snapshot(const std::filesystem::path& path);
  opened_snapshot(const opened_snapshot&) = delete;
  opened_snapshot& operator=(const opened_snapshot&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  const snapshot_header& header() const noexcept { return front_.header; }
  const snapshot_layout& layout() const noexcept { return layout_; }
  int fd() const noexcept { return front_.file.get(); }
  std::uint64_t saved_bytes() const noexcept { return index_.saved_blocks() * header().block; }

  // Whether `size` bytes from `offset` on lie in that area.
  bool is_inside(std::size_t area, std::size_t offset, std::size_t size) const noexcept;
  // What it has of `offset`, in `most` bytes at most.
  snapshot_run run_at(std::size_t area, std::size_t offset, std::size_t most) const noexcept;
  // Of an area's part that is inside.
  snapshot_read read(std::size_t area, std::size_t offset, std::span<std::byte> to) const noexcept;

 private:
  std::size_t size_of(std::size_t area) const noexcept { return header().areas[area].range.size(); }
  snapshot_content content_of(std::size_t area, std::size_t block) const noexcept;
  snapshot_read read_run(std::size_t area, const snapshot_run& run,
                         std::span<std::byte> to) const noexcept;
  snapshot_read read_blocks(std::size_t area, std::size_t offset,
                            std::span<std::byte> to) const noexcept;
  std::error_code read_part(std::size_t area, std::size_t offset,
                            std::span<std::byte> to) const noexcept;

  std::filesystem::path path_;
  snapshot_front front_;
  snapshot_layout layout_;
  snapshot_index index_;
};

// "/tmp/file: area 1, offset 0x3000": what errors say of a page.
std::string name_of_page(const std::filesystem::path& path, std::size_t area, std::size_t offset);

}  // namespace uffd::detail
