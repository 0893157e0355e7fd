// SPDX-License-Identifier: MIT
// What lies behind paged memory: a file whose every word is known, and a source in bad moods.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "choices.hpp"
#include "support/page_sources.hpp"
#include "support/scratch_file.hpp"
#include "uffd/error.hpp"
#include "uffd/pager/page_source.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::chaos {

// Outlives the mappings of it. On a file system, or only in memory, which is faster.
class paged_store {
 public:
  paged_store(std::size_t bytes, bool on_disk, std::uint64_t seed)
      : size_(bytes), seed_(seed), file_(on_disk ? unlinked_file() : memory_file()) {
    std::vector<std::byte> all(bytes);
    for (std::size_t i = 0; i < bytes; ++i) all[i] = test::source_byte(i);
    if (::pwrite(file_.get(), all.data(), bytes, 0) != static_cast<ssize_t>(bytes))
      detail::throw_errno(errno, "paged_store: pwrite");
  }

  std::size_t size() const { return size_; }
  int fd() const { return file_.get(); }
  std::uint64_t word_at(std::size_t offset) const {
    std::uint64_t word = 0;
    static_cast<void>(::pread(fd(), &word, sizeof word, static_cast<off_t>(offset)));
    return word;
  }
  std::vector<std::byte> content() const {
    std::vector<std::byte> all(size_);
    static_cast<void>(::pread(fd(), all.data(), size_, 0));
    return all;
  }

  // Whether every call succeeds, and at once.
  void calm_down(bool is_calm) { is_calm_.store(is_calm); }
  bool is_calm() const { return is_calm_.load(); }
  // For one call: what else may happen in it.
  choices mood() const { return choices(mixed(seed_, calls_.fetch_add(1))); }

 private:
  static unique_fd memory_file() {
    unique_fd made(::memfd_create("paged_store", MFD_CLOEXEC));
    if (!made) detail::throw_errno(errno, "paged_store: memfd_create");
    return made;
  }
  static unique_fd unlinked_file() {
    const test::scratch_file named("");
    unique_fd made(::open(named.path().c_str(), O_RDWR | O_CLOEXEC));
    if (!made) detail::throw_errno(errno, "paged_store: " + named.path());
    return made;
  }

  const std::size_t size_;
  const std::uint64_t seed_;
  const unique_fd file_;
  std::atomic<bool> is_calm_{false};
  mutable std::atomic<std::uint64_t> calls_{0};
};

// Sometimes slow, and fails now and then so that it is worth while to try again. What it has
// to write it may copy first and write a little later, as what sends it somewhere does.
class moody_source {
 public:
  explicit moody_source(paged_store& store) : store_(&store) {}

  std::uint64_t size() const noexcept { return store_->size(); }

  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    auto chosen = store_->mood();
    if (!store_->is_calm()) {
      if (chosen.one_in(100)) return {0, source_error::transient};
      if (chosen.one_in(30)) nap(chosen);
    }
    const auto done = ::pread(store_->fd(), to.data(), to.size(), static_cast<off_t>(offset));
    if (done < 0) return {0, std::error_code(errno, std::system_category())};
    return {static_cast<std::size_t>(done), {}};
  }

  std::error_code write(std::uint64_t offset, std::span<const std::byte> from) noexcept {
    auto chosen = store_->mood();
    if (store_->is_calm()) return write_now(offset, from);
    if (chosen.one_in(50)) return std::make_error_code(std::errc::no_space_on_device);
    if (chosen.one_in(50)) return source_error::transient;
    if (!chosen.one_in(10)) return write_now(offset, from);
    std::vector<std::byte> copied(from.size());
    std::memcpy(copied.data(), from.data(), from.size());
    nap(chosen);
    return write_now(offset, copied);
  }

  std::error_code flush() noexcept {
    auto chosen = store_->mood();
    if (!store_->is_calm() && chosen.one_in(20)) return std::make_error_code(std::errc::io_error);
    return {};
  }

 private:
  static void nap(choices& chosen) noexcept {
    const timespec moment{0, static_cast<long>(1000 * chosen.between(10, 2000))};
    ::nanosleep(&moment, nullptr);
  }
  std::error_code write_now(std::uint64_t offset, std::span<const std::byte> from) noexcept {
    const auto done = ::pwrite(store_->fd(), from.data(), from.size(), static_cast<off_t>(offset));
    if (done == static_cast<ssize_t>(from.size())) return {};
    return {done < 0 ? errno : EIO, std::system_category()};
  }

  paged_store* store_;
};

}  // namespace uffd::chaos
