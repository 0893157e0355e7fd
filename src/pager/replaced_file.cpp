// SPDX-License-Identifier: MIT
#include "pager/replaced_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "detail/monotonic.hpp"
#include "uffd/error.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {
namespace {

[[noreturn]] void fail(int number, const char* doing, const std::filesystem::path& file) {
  throw_errno(number, std::string("working_set: ") + doing + " " + file.string());
}

// A new file beside `file`, which is gone at the end unless it took that one's place.
class new_file {
 public:
  explicit new_file(const std::filesystem::path& file) : target_(file) {
    constexpr int attempts = 100;
    for (int i = 0; !opened_; ++i) {
      path_ = file.string() + "." + std::to_string(::getpid()) + "-" +
              std::to_string(monotonic_nanoseconds() + i) + ".new";
      opened_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (!opened_ && (errno != EEXIST || i == attempts)) {
        const int number = errno;
        path_.clear();
        fail(number, "writing", file);
      }
    }
  }
  new_file(const new_file&) = delete;
  new_file& operator=(const new_file&) = delete;
  ~new_file() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  void write(std::string_view content) const {
    while (!content.empty()) {
      const auto count = ::write(opened_.get(), content.data(), content.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) fail(count == 0 ? EIO : errno, "writing", target_);
      content.remove_prefix(static_cast<std::size_t>(count));
    }
    if (::fsync(opened_.get()) != 0) fail(errno, "writing", target_);
  }
  void take_its_place() {
    if (::rename(path_.c_str(), target_.c_str()) != 0) fail(errno, "replacing", target_);
    path_.clear();
    // Some file systems can't; the content is right in any case.
    const auto folder = target_.parent_path();
    const unique_fd opened(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC));
    if (opened) ::fsync(opened.get());
  }

 private:
  std::filesystem::path target_;
  std::string path_;
  unique_fd opened_;
};

}  // namespace

std::optional<std::string> read_small_file(const std::filesystem::path& file, std::size_t most) {
  // A pipe without a writer would be waited for.
  const unique_fd opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!opened) fail(errno, "opening", file);
  struct stat status {};
  if (::fstat(opened.get(), &status) != 0) fail(errno, "reading", file);
  if (!S_ISREG(status.st_mode)) fail(S_ISDIR(status.st_mode) ? EISDIR : ESPIPE, "reading", file);
  if (static_cast<std::uint64_t>(status.st_size) > most) return std::nullopt;
  std::string content;
  constexpr std::size_t at_once = std::size_t{64} << 10;
  for (std::size_t size = 0;;) {
    // It may have grown, or not know its size.
    content.resize(size + std::min(std::max(at_once, size), most + 1 - size));
    const auto count = ::read(opened.get(), content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(errno, "reading", file);
    size += static_cast<std::size_t>(count);
    if (size > most) return std::nullopt;
    if (count != 0) continue;
    content.resize(size);
    return content;
  }
}

void replace_file(const std::filesystem::path& file, std::string_view content) {
  new_file made(file);
  made.write(content);
  made.take_its_place();
}

}  // namespace uffd::detail
