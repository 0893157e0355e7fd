// SPDX-License-Identifier: MIT
// A file of known words, one of them in each page a counter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "uffd/unique_fd.hpp"

namespace uffd::bench {

// Sums and counts over a file.
struct file_sums {
  std::uint64_t words = 0;  // the sum of all 64-bit words, modulo 2^64
  std::uint64_t counters = 0;
};

// Removed at its end. Its first word in each page says which page it is; the second one is the
// counter, 0 at first; all others depend on their place.
class numbered_file {
 public:
  static constexpr std::size_t counter_word = 1;

  // In `folder`, of `bytes`, rounded up to whole windows of 2 MiB. Read once: it is warm. Throws
  // std::system_error.
  numbered_file(const std::filesystem::path& folder, std::size_t bytes);
  numbered_file(const numbered_file&) = delete;
  numbered_file& operator=(const numbered_file&) = delete;
  ~numbered_file();

  const std::filesystem::path& path() const noexcept { return path_; }
  std::size_t size() const noexcept { return size_; }
  std::size_t pages() const noexcept;
  // Without the page cache: O_DIRECT. Throws std::system_error.
  unique_fd open(bool writable, bool direct) const;

  // As it is on disk or in the page cache now. Throws std::system_error.
  file_sums sums() const;
  // Waits until the disk has it: its write-back must not disturb what is measured next.
  void settle() const;

 private:
  std::filesystem::path path_;
  std::size_t size_;
};

// The first word of a page.
std::uint64_t first_word_of(std::size_t page) noexcept;

}  // namespace uffd::bench
