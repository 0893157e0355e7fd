// SPDX-License-Identifier: MIT
#include "pager/replaced_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "detail/new_file.hpp"
#include "uffd/error.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {
namespace {

[[noreturn]] void fail(int number, const char* doing, const std::filesystem::path& file) {
  throw_errno(number, std::string("working_set: ") + doing + " " + file.string());
}

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
  new_file made(file, 0666, "working_set: writing ");
  while (!content.empty()) {
    const auto count = ::write(made.fd(), content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(count == 0 ? EIO : errno, "writing", file);
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  if (::fsync(made.fd()) != 0) fail(errno, "writing", file);
  if (const auto error = made.take_its_place(replacing::permitted))
    fail(error.value(), "replacing", file);
  // The content is right in any case.
  static_cast<void>(made.keep_its_place());
}

}  // namespace uffd::detail
