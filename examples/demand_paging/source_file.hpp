// SPDX-License-Identifier: MIT
// A regular file that is read by offset.
#pragma once

#include <uffd/unique_fd.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <system_error>

namespace demand_paging {

enum class file_error {
  ended_early = 1,  ///< it was truncated after it was opened
};
std::error_code make_error_code(file_error value) noexcept;

class source_file {
 public:
  // Throws std::system_error or std::runtime_error that says why it can't be paged.
  explicit source_file(const std::string& path);

  // Bytes there were when it was opened; never 0.
  std::size_t size() const noexcept { return size_; }

  // Reads all of `into` or gives an error. From any thread.
  std::error_code read(std::size_t offset, std::span<std::byte> into) const noexcept;

 private:
  uffd::unique_fd file_;
  std::size_t size_ = 0;
};

}  // namespace demand_paging

template <>
struct std::is_error_code_enum<demand_paging::file_error> : std::true_type {};
