// SPDX-License-Identifier: MIT
// The file that the memory holds.
#pragma once

#include <uffd/unique_fd.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <system_error>

namespace external_pager {

class content {
 public:
  // Throws std::system_error or std::runtime_error.
  explicit content(const std::string& path);

  // Bytes in the file.
  std::size_t size() const noexcept { return size_; }

  // Fills `into` from there on, with zeroes past the end.
  std::error_code read(std::size_t offset, std::span<std::byte> into) const noexcept;

 private:
  uffd::unique_fd file_;
  std::size_t size_ = 0;
};

}  // namespace external_pager
