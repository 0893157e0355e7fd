// SPDX-License-Identifier: MIT
// Snapshots of known content, and what can be done to their files.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "tracking/snapshot_base.hpp"
#include "tracking/snapshot_writer.hpp"
#include "uffd/error.hpp"
#include "uffd/page_range.hpp"
#include "uffd/tracking/snapshot_file.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::test {

using bytes = std::vector<std::byte>;

// Pages that differ, none of which is zeroes.
inline bytes random_pages(std::size_t pages, unsigned seed, std::size_t page = page_size()) {
  bytes all(pages * page);
  std::minstd_rand random(seed + 1);
  for (auto& each : all) each = static_cast<std::byte>(random() >> 8U);
  return all;
}

inline std::span<std::byte> page_of(bytes& memory, std::size_t index,
                                    std::size_t page = page_size()) {
  return std::span(memory).subspan(index * page, page);
}
inline void clear_page(bytes& memory, std::size_t index) {
  for (auto& each : page_of(memory, index)) each = std::byte{0};
}
inline void change_page(bytes& memory, std::size_t index, unsigned seed) {
  const auto content = random_pages(1, seed);
  std::copy(content.begin(), content.end(), page_of(memory, index).begin());
}

// Pages that were saved, zeroes, saved, zeroes.
inline bytes some_memory() {
  auto memory = random_pages(4, 1);
  clear_page(memory, 1);
  clear_page(memory, 3);
  return memory;
}

// As if memory of those sizes had lain in one row.
inline std::vector<snapshot_area> areas_of(std::span<const bytes> memory,
                                           std::size_t page = page_size()) {
  std::vector<snapshot_area> areas;
  std::uintptr_t begin = std::uintptr_t{1} << 30;
  for (const auto& each : memory) {
    areas.push_back({{begin, each.size()}, page});
    begin += each.size() + page;
  }
  return areas;
}

inline void check(std::error_code error) {
  if (error) throw std::system_error(error);
}

// Of all pages; of those alone, on top of a base.
inline snapshot_file save(const std::filesystem::path& path, std::span<const bytes> memory,
                          std::size_t page = page_size()) {
  uffd::detail::snapshot_writer writer(path, areas_of(memory, page), nullptr);
  for (std::size_t i = 0; i < memory.size(); ++i) check(writer.put(i, 0, memory[i]));
  check(writer.commit());
  return snapshot_file::open(path);
}
inline snapshot_file save(const std::filesystem::path& path, const bytes& memory) {
  return save(path, std::span(&memory, 1));
}
inline snapshot_file save_pages(const std::filesystem::path& path, const snapshot_file& base,
                                bytes& memory, std::initializer_list<std::size_t> pages) {
  const uffd::detail::snapshot_base on(base.path());
  uffd::detail::snapshot_writer writer(path, base.areas(), &on);
  for (const auto page : pages) check(writer.put(0, page * page_size(), page_of(memory, page)));
  check(writer.commit());
  return snapshot_file::open(path);
}

// A file to be damaged.
class victim {
 public:
  explicit victim(const std::filesystem::path& path)
      : file_(::open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    if (!file_) uffd::detail::throw_errno(errno, path.string());
  }
  std::uint64_t size() const {
    return static_cast<std::uint64_t>(::lseek(file_.get(), 0, SEEK_END));
  }
  std::byte get(std::uint64_t offset) const {
    std::byte byte{};
    done(::pread(file_.get(), &byte, 1, static_cast<off_t>(offset)) == 1);
    return byte;
  }
  void set(std::uint64_t offset, std::byte byte) const {
    done(::pwrite(file_.get(), &byte, 1, static_cast<off_t>(offset)) == 1);
  }
  void flip(std::uint64_t offset) const { set(offset, get(offset) ^ std::byte{0x10}); }
  void resize(std::uint64_t size) const {
    done(::ftruncate(file_.get(), static_cast<off_t>(size)) == 0);
  }

 private:
  static void done(bool is) {
    if (!is) uffd::detail::throw_errno(errno, "a file to be damaged");
  }

  unique_fd file_;
};

// Why a file is refused; no error: it is not.
template <class Call>
std::error_code error_of(Call&& call) {
  try {
    call();
    return {};
  } catch (const std::system_error& error) {
    return error.code();
  }
}
inline std::error_code refused(const std::filesystem::path& path) {
  return error_of([&] { static_cast<void>(snapshot_file::open(path)); });
}

}  // namespace uffd::test
