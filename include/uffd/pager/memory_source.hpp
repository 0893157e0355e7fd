// SPDX-License-Identifier: MIT
/// \file
/// Pages that come from memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "uffd/detail/export.hpp"
#include "uffd/pager/page_source.hpp"

namespace uffd {

/// Bytes in this process's memory, which it only refers to: they must outlive the source and must
/// not be served by the pager that reads it. A pager copies from them directly. Whoever changes
/// them while a page is read sees the page torn; a write by the pager is a plain copy.
class UFFDPP_EXPORT memory_source {
 public:
  /// To be read only.
  explicit memory_source(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
  /// To be read and written.
  explicit memory_source(std::span<std::byte> bytes) noexcept : bytes_(bytes), writable_(bytes) {}

  /// Bytes.
  std::uint64_t size() const noexcept { return bytes_.size(); }
  /// Beyond the end source_error::incomplete, with what is there.
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept;
  /// EROFS where it is to be read only, EFBIG beyond the end: then nothing is written.
  std::error_code write(std::uint64_t offset, std::span<const std::byte> from) noexcept;
  /// Whether it may be written.
  bool is_writable() const noexcept { return !writable_.empty(); }
  /// All of it.
  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
  std::span<std::byte> writable_;
};

}  // namespace uffd
