// SPDX-License-Identifier: MIT
#include "checksum.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

namespace larger_than_memory {
namespace {

// As many bytes as there are.
std::size_t read_at(int file, std::uint64_t offset, std::span<std::byte> to) {
  std::size_t done = 0;
  while (done < to.size()) {
    const auto got =
        ::pread(file, to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got > 0)
      done += static_cast<std::size_t>(got);
    else if (errno != EINTR)
      throw std::system_error(errno, std::system_category(), "reading it");
  }
  return done;
}

}  // namespace

void checksum::add(std::span<const std::byte> part) noexcept {
  while (!part.empty()) {
    std::uint64_t word = 0;
    const auto size = std::min(part.size(), sizeof word);
    std::memcpy(&word, part.data(), size);
    sum_ += word;
    sum_of_sums_ += sum_;
    part = part.subspan(size);
  }
}

plain_file::plain_file(const std::string& path)
    : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (!file_) throw std::system_error(errno, std::system_category(), "opening it");
}

checksum plain_file::sum() const {
  checksum all;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  std::uint64_t offset = 0;
  while (const auto size = read_at(file_.get(), offset, buffer)) {
    all.add(std::span(buffer).first(size));
    offset += size;
  }
  return all;
}

std::uint64_t plain_file::word(std::uint64_t index) const {
  std::uint64_t word = 0;
  read_at(file_.get(), index * sizeof word, std::as_writable_bytes(std::span(&word, 1)));
  return word;
}

}  // namespace larger_than_memory
