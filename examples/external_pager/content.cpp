// SPDX-License-Identifier: MIT
#include "content.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

namespace external_pager {

content::content(const std::string& path)
    : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat status {};
  if (!file_ || ::fstat(file_.get(), &status) != 0)
    throw std::system_error(errno, std::system_category(), path);
  if (!S_ISREG(status.st_mode) || status.st_size == 0)
    throw std::runtime_error(path + " is no regular file, or empty");
  size_ = static_cast<std::size_t>(status.st_size);
}

std::error_code content::read(std::size_t offset, std::span<std::byte> into) const noexcept {
  while (!into.empty()) {
    const ssize_t got = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {errno, std::system_category()};
    if (got == 0) break;
    offset += static_cast<std::size_t>(got);
    into = into.subspan(static_cast<std::size_t>(got));
  }
  std::fill(into.begin(), into.end(), std::byte{0});
  return {};
}

}  // namespace external_pager
