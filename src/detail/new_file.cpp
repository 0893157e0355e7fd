// SPDX-License-Identifier: MIT
#include "detail/new_file.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>

#include "detail/monotonic.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

std::error_code last_error() noexcept { return {errno, std::system_category()}; }

// Not all file systems can rename without replacing (EINVAL): there, another file that comes
// between the two steps is replaced.
int rename_to_new_name(const char* from, const char* to) noexcept {
  if (::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -1;
  if (::faccessat(AT_FDCWD, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return -1;
  }
  return errno == ENOENT ? ::rename(from, to) : -1;
}

// With what follows it must be no longer than a name may be. Not within a character: some file
// systems refuse halves.
std::string begin_of(const std::string& name) {
  std::size_t size = std::min(name.size(), std::size_t{100});
  while (size > 1 && size < name.size() && (static_cast<unsigned char>(name[size]) & 0xC0U) == 0x80)
    --size;
  return name.substr(0, size);
}

}  // namespace

new_file::new_file(const std::filesystem::path& target, unsigned mode, const std::string& what)
    : target_(std::filesystem::absolute(target)), home_(process_mark::here()) {
  const auto folder = target_.parent_path();
  folder_.reset(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Not every folder that may be written may be read.
  if (!folder_ && errno != EACCES) throw_errno(errno, what + target.string());
  constexpr int attempts = 100;
  const auto begin = begin_of(target_.filename().string());
  for (int i = 0; !opened_; ++i) {
    path_ = folder / (begin + "." + std::to_string(::getpid()) + "-" +
                      std::to_string(monotonic_nanoseconds() + i) + ".new");
    opened_.reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!opened_ && (errno != EEXIST || i == attempts)) throw_errno(errno, what + target.string());
  }
}

new_file::~new_file() {
  if (!has_place_ && !home_.in_child()) ::unlink(path_.c_str());
}

std::error_code new_file::take_its_place(replacing other) noexcept {
  const int result = other == replacing::permitted
                         ? ::rename(path_.c_str(), target_.c_str())
                         : rename_to_new_name(path_.c_str(), target_.c_str());
  if (result != 0) return last_error();
  has_place_ = true;
  return {};
}

void new_file::remove() noexcept { ::unlink(has_place_ ? target_.c_str() : path_.c_str()); }

std::error_code new_file::keep_its_place() const noexcept {
  // All of the file system takes longer, but needs nobody to read the folder.
  const int result = folder_ ? ::fsync(folder_.get()) : ::syncfs(opened_.get());
  // Some file systems can't.
  if (result == 0 || errno == EINVAL || errno == ENOTSUP) return {};
  return last_error();
}

}  // namespace uffd::detail
