// SPDX-License-Identifier: MIT
// A snapshot's file while it is written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <system_error>
#include <vector>

#include "detail/new_file.hpp"
#include "tracking/page_sink.hpp"
#include "tracking/snapshot_base.hpp"
#include "tracking/snapshot_format.hpp"
#include "tracking/snapshot_index.hpp"
#include "uffd/tracking/snapshot_file.hpp"

namespace uffd::detail {

// Writes a file under a name of its own beside `path` (path.PID-TIME.new), which it has once
// commit() succeeded. Each page is written to its place at once, without a lock; what is zeroes is
// not. Takes 8 bytes of memory for each small page, of those parts of an area only (2 MiB) that
// have a page put.
class snapshot_writer final : public page_sink {
 public:
  // `base` is that of which only the changes are written; null: none. A snapshot without one
  // replaces a file of that name, for whoever has no use for the old one, but nothing that is no
  // file then (EEXIST). One that has a base replaces none (EEXIST): it might be its own base, or
  // that one's. Throws std::system_error: EINVAL for areas that are none, EFBIG where no file can
  // be, or this process may write none, as large, ENAMETOOLONG for a base whose name has no room in
  // the header, snapshot_error::other_areas, and the errno of what failed.
  snapshot_writer(const std::filesystem::path& path, std::span<const snapshot_area> areas,
                  const snapshot_base* base);

  // The errno of pwrite(2) (ENOSPC, EFBIG, EIO); EINVAL for what are no whole pages of an area.
  std::error_code put(std::size_t area, std::size_t offset,
                      std::span<const std::byte> pages) noexcept override;
  std::error_code put_zero(std::size_t area, std::size_t offset,
                           std::size_t bytes) noexcept override;
  // The error of a put() that failed, too. After an error there is no file, but where one was
  // replaced and only that could not be made to last.
  std::error_code commit() noexcept override;

  const snapshot_identity& identity() const noexcept { return header_.identity; }

 private:
  bool has_pages(std::size_t area, std::size_t offset, std::size_t bytes) const noexcept;
  std::error_code put_blocks(std::size_t area, std::size_t offset,
                             std::span<const std::byte> blocks) noexcept;
  void set(std::size_t area, std::size_t offset, std::size_t bytes, std::uint64_t number) noexcept;
  std::error_code failed(std::error_code error) noexcept;
  std::error_code sync() noexcept;
  std::error_code appear() noexcept;

  snapshot_header header_;
  snapshot_layout layout_;
  std::vector<std::byte> encoded_;
  snapshot_index index_;
  new_file file_;
  std::atomic<int> failed_{0};
};

}  // namespace uffd::detail
