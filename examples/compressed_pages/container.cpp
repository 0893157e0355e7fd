// SPDX-License-Identifier: MIT
#include "container.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>

namespace compressed_pages {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::system_category(), what);
}

uffd::unique_fd make_temporary_file() {
  auto name = (std::filesystem::temp_directory_path() / "compressed_pages.XXXXXX").string();
  uffd::unique_fd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file || ::unlink(name.c_str()) != 0) fail("a temporary file");
  return file;
}

// Buffers that each thread has once.
struct unpacking {
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context{ZSTD_createDCtx(), &ZSTD_freeDCtx};
  std::vector<std::byte> packed = std::vector<std::byte>(ZSTD_compressBound(container::block_size));
};

}  // namespace

container::container(const std::string& path) : packed_(make_temporary_file()) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("opening it");
  std::vector<char> block(block_size);
  std::vector<std::byte> packed(ZSTD_compressBound(block_size));
  while (file.read(block.data(), block_size), file.gcount() > 0) {
    const auto size = static_cast<std::size_t>(file.gcount());
    const auto packed_size =
        ZSTD_compress(packed.data(), packed.size(), block.data(), size, ZSTD_defaultCLevel());
    if (::write(packed_.get(), packed.data(), packed_size) != static_cast<ssize_t>(packed_size))
      fail("writing a temporary file");
    begins_.push_back(begins_.back() + packed_size);
    size_ += size;
  }
  if (file.bad()) fail("reading it");
}

std::size_t container::size_of(std::size_t block) const noexcept {
  return static_cast<std::size_t>(
      std::min<std::uint64_t>(block_size, size_ - std::uint64_t{block} * block_size));
}

std::error_code container::unpack(std::size_t block, std::span<std::byte> to) const noexcept {
  thread_local unpacking mine;
  auto& packed = mine.packed;
  const auto size = static_cast<std::size_t>(begins_[block + 1] - begins_[block]);
  const auto got = ::pread(packed_.get(), packed.data(), size, static_cast<off_t>(begins_[block]));
  if (got < 0) return {errno, std::system_category()};
  if (got != static_cast<ssize_t>(size)) return std::make_error_code(std::errc::io_error);
  if (ZSTD_decompressDCtx(mine.context.get(), to.data(), to.size(), packed.data(), size) !=
      to.size())
    return std::make_error_code(std::errc::bad_message);
  return {};
}

}  // namespace compressed_pages
