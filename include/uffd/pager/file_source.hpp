// SPDX-License-Identifier: MIT
/// \file
/// Pages that come from a file.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>

#include "uffd/detail/export.hpp"
#include "uffd/pager/page_source.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

/// What a file_source may do with its file.
enum class file_access {
  /// Read it. Somebody else's change is told by the next read, which asks for the file's times: a
  /// system call more.
  read,
  /// Read it. Nobody changes it meanwhile; if somebody does, what is shown is of either time.
  read_immutable,
  /// Read it and write it in place.
  read_write,
};

/// A regular file or a block device, by pread(2) and pwrite(2). Its size is that at the opening,
/// and never grows. Members may be called from several threads.
class UFFDPP_EXPORT file_source {
 public:
  /// Opens `path`. Throws std::system_error with open(2)'s errno, EISDIR for a folder, ESPIPE for
  /// what can't be read by offset.
  explicit file_source(const std::filesystem::path& path, file_access access = file_access::read);
  /// Takes over an open file; throws as above, EBADF where it is not open as `access` needs.
  explicit file_source(unique_fd file, file_access access = file_access::read);

  /// Bytes.
  std::uint64_t size() const noexcept { return size_; }
  /// The errno of pread(2); source_error::incomplete where the file has become shorter,
  /// source_error::changed where it was written since (seen by its times, as fine as its file
  /// system keeps them; only with file_access::read).
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept;
  /// The errno of pwrite(2), EROFS without file_access::read_write, EFBIG beyond size(): then
  /// nothing is written.
  std::error_code write(std::uint64_t offset, std::span<const std::byte> from) noexcept;
  /// fdatasync(2).
  std::error_code flush() noexcept;
  /// Whether it was opened to be written.
  bool is_writable() const noexcept { return access_ == file_access::read_write; }
  /// By device, inode, size and time of the last change, as they were at the opening.
  std::string identity() const;
  /// The descriptor.
  int fd() const noexcept { return file_.get(); }

 private:
  bool has_changed() const noexcept;

  unique_fd file_;
  file_access access_;
  struct stat opened_ {};
  std::uint64_t size_ = 0;
};

}  // namespace uffd
