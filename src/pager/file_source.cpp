// SPDX-License-Identifier: MIT
#include "uffd/pager/file_source.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "uffd/error.hpp"

namespace uffd {
namespace {

std::error_code code_of(int number) noexcept { return {number, std::system_category()}; }

unique_fd open_file(const std::filesystem::path& path, file_access access) {
  const int how = access == file_access::read_write ? O_RDWR : O_RDONLY;
  // A pipe without a writer would be waited for.
  unique_fd file(::open(path.c_str(), how | O_CLOEXEC | O_NONBLOCK));
  if (!file) detail::throw_errno(errno, "file_source: " + path.string());
  return file;
}

bool allows(int file, file_access access) {
  const int how = ::fcntl(file, F_GETFL);
  if (how == -1) return false;
  const int mode = how & O_ACCMODE;
  return mode == O_RDWR || (mode == O_RDONLY && access != file_access::read_write);
}

std::uint64_t size_of(int file, const struct stat& status) {
  if (S_ISREG(status.st_mode)) return static_cast<std::uint64_t>(status.st_size);
  if (!S_ISBLK(status.st_mode))
    detail::throw_errno(S_ISDIR(status.st_mode) ? EISDIR : ESPIPE,
                        "file_source: neither a regular file nor a block device");
  std::uint64_t bytes = 0;
  if (::ioctl(file, BLKGETSIZE64, &bytes) != 0)
    detail::throw_errno(errno, "file_source: the size of a block device");
  return bytes;
}

bool is_same(const timespec& one, const timespec& other) noexcept {
  return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

}  // namespace

file_source::file_source(const std::filesystem::path& path, file_access access)
    : file_source(open_file(path, access), access) {}

file_source::file_source(unique_fd file, file_access access)
    : file_(std::move(file)), access_(access) {
  if (!allows(file_.get(), access)) detail::throw_errno(EBADF, "file_source: not open as needed");
  if (::fstat(file_.get(), &opened_) != 0) detail::throw_errno(errno, "file_source: fstat");
  size_ = size_of(file_.get(), opened_);
}

bool file_source::has_changed() const noexcept {
  struct stat now {};
  // Its own writes change the times too.
  return access_ == file_access::read &&
         (::fstat(file_.get(), &now) != 0 || !is_same(now.st_mtim, opened_.st_mtim) ||
          !is_same(now.st_ctim, opened_.st_ctim));
}

read_result file_source::read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
  read_result result;
  while (result.bytes < to.size()) {
    const auto rest = to.subspan(result.bytes);
    const auto count =
        ::pread(file_.get(), rest.data(), rest.size(), static_cast<off_t>(offset + result.bytes));
    if (count == 0) return {result.bytes, source_error::incomplete};
    if (count > 0)
      result.bytes += static_cast<std::size_t>(count);
    else if (errno != EINTR)
      return {result.bytes, code_of(errno)};
  }
  if (has_changed()) return {0, source_error::changed};
  return result;
}

std::error_code file_source::write(std::uint64_t offset, std::span<const std::byte> from) noexcept {
  if (!is_writable()) return std::make_error_code(std::errc::read_only_file_system);
  if (offset > size_ || from.size() > size_ - offset) return code_of(EFBIG);
  while (!from.empty()) {
    const auto count = ::pwrite(file_.get(), from.data(), from.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return code_of(count == 0 ? EIO : errno);
    from = from.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

std::error_code file_source::flush() noexcept {
  while (::fdatasync(file_.get()) != 0)
    if (errno != EINTR) return code_of(errno);
  return {};
}

std::string file_source::identity() const {
  return "file:" + std::to_string(opened_.st_dev) + ":" + std::to_string(opened_.st_ino) + ":" +
         std::to_string(size_) + ":" + std::to_string(opened_.st_mtim.tv_sec) + "." +
         std::to_string(opened_.st_mtim.tv_nsec);
}

}  // namespace uffd
