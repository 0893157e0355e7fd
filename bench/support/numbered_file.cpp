// SPDX-License-Identifier: MIT
#include "support/numbered_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <numeric>
#include <span>
#include <system_error>
#include <vector>

#include "uffd/page_range.hpp"

namespace uffd::bench {
namespace {

constexpr std::size_t window = std::size_t{2} << 20;

std::uint64_t mixed(std::uint64_t value) noexcept {
  value *= 0x9e3779b97f4a7c15;
  value ^= value >> 29;
  value *= 0xbf58476d1ce4e5b9;
  return value ^ value >> 32;
}

[[noreturn]] void fail(const std::filesystem::path& path) {
  throw std::system_error(errno, std::system_category(), path.string());
}

void fill(std::span<std::uint64_t> words, std::size_t first_page, std::size_t per_page) {
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = mixed(first_page * per_page + i);
  for (std::size_t i = 0; i < words.size(); i += per_page) {
    words[i] = first_word_of(first_page + i / per_page);
    words[i + numbered_file::counter_word] = 0;
  }
}

}  // namespace

std::uint64_t first_word_of(std::size_t page) noexcept { return mixed(~std::uint64_t{page}); }

numbered_file::numbered_file(const std::filesystem::path& folder, std::size_t bytes)
    : path_(folder / "uffd_pager_workloads.XXXXXX"), size_((bytes + window - 1) / window * window) {
  std::string name = path_.string();
  const unique_fd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) fail(path_);
  path_ = name;
  const auto per_page = page_size() / sizeof(std::uint64_t);
  std::vector<std::uint64_t> words(window / sizeof(std::uint64_t));
  for (std::size_t at = 0; at < size_; at += window) {
    fill(words, at / page_size(), per_page);
    if (::pwrite(file.get(), words.data(), window, static_cast<off_t>(at)) != ssize_t{window})
      fail(path_);
  }
  settle();
}

numbered_file::~numbered_file() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

std::size_t numbered_file::pages() const noexcept { return size_ / page_size(); }

unique_fd numbered_file::open(bool writable, bool direct) const {
  unique_fd file(
      ::open(path_.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | (direct ? O_DIRECT : 0)));
  if (!file) fail(path_);
  return file;
}

file_sums numbered_file::sums() const {
  const auto file = open(false, false);
  const auto per_page = page_size() / sizeof(std::uint64_t);
  std::vector<std::uint64_t> words(window / sizeof(std::uint64_t));
  file_sums result;
  for (std::size_t at = 0; at < size_; at += window) {
    if (::pread(file.get(), words.data(), window, static_cast<off_t>(at)) != ssize_t{window})
      fail(path_);
    result.words = std::accumulate(words.begin(), words.end(), result.words);
    for (std::size_t i = counter_word; i < words.size(); i += per_page) result.counters += words[i];
  }
  return result;
}

void numbered_file::settle() const {
  const auto file = open(true, false);
  if (::fdatasync(file.get()) != 0) fail(path_);
}

}  // namespace uffd::bench
