// SPDX-License-Identifier: MIT
#include "source_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>

namespace demand_paging {
namespace {

class file_error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "file"; }
  std::string message(int) const override {
    return "the file ended early: it became shorter after it was opened";
  }
};

[[noreturn]] void fail(int number) { throw std::system_error(number, std::system_category()); }

}  // namespace

std::error_code make_error_code(file_error value) noexcept {
  static const file_error_category category;
  return {static_cast<int>(value), category};
}

source_file::source_file(const std::string& path)
    // Without O_NONBLOCK a FIFO would wait for its writer before it is refused.
    : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (!file_) fail(errno);
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) fail(errno);
  if (S_ISDIR(status.st_mode)) fail(EISDIR);
  if (!S_ISREG(status.st_mode)) throw std::runtime_error("not a regular file");
  if (status.st_size == 0) throw std::runtime_error("it is empty: there is nothing to page");
  size_ = static_cast<std::size_t>(status.st_size);
}

std::error_code source_file::read(std::size_t offset, std::span<std::byte> into) const noexcept {
  while (!into.empty()) {
    const ssize_t got = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got == 0) return file_error::ended_early;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {errno, std::system_category()};
    offset += static_cast<std::size_t>(got);
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace demand_paging
