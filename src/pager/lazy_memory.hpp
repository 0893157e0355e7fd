// SPDX-License-Identifier: MIT
// Zeroed memory that costs only what is touched of it.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>

#include "uffd/error.hpp"

namespace uffd::detail {

class lazy_memory {
 public:
  // Throws std::system_error.
  explicit lazy_memory(std::size_t bytes)
      : begin_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)),
        bytes_(bytes) {
    if (begin_ == MAP_FAILED)
      throw_errno(errno, "pager: " + std::to_string(bytes) + " bytes of state");
    // Else the first touch would take a whole huge page where those are always used.
    ::madvise(begin_, bytes, MADV_NOHUGEPAGE);
  }
  lazy_memory(lazy_memory&& other) noexcept
      : begin_(std::exchange(other.begin_, MAP_FAILED)), bytes_(other.bytes_) {}
  lazy_memory& operator=(lazy_memory&&) = delete;
  ~lazy_memory() {
    if (begin_ != MAP_FAILED) ::munmap(begin_, bytes_);
  }

  std::byte* begin() const noexcept { return static_cast<std::byte*>(begin_); }
  std::size_t size() const noexcept { return bytes_; }

 private:
  void* begin_;
  std::size_t bytes_;
};

}  // namespace uffd::detail
