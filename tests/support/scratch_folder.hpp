// SPDX-License-Identifier: MIT
// A folder for one test.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include "uffd/error.hpp"

namespace uffd::test {

// Empty at first; is gone at the end, with all that it has then.
class scratch_folder {
 public:
  scratch_folder() {
    auto path = (std::filesystem::temp_directory_path() / "uffd-test-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) uffd::detail::throw_errno(errno, "mkdtemp: " + path);
    path_ = path;
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  std::size_t files() const {
    const std::filesystem::directory_iterator all(path_);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

 private:
  std::filesystem::path path_;
};

// Where relative paths begin, until its end.
class working_folder {
 public:
  explicit working_folder(const std::filesystem::path& path) {
    std::filesystem::current_path(path);
  }
  working_folder(const working_folder&) = delete;
  working_folder& operator=(const working_folder&) = delete;
  ~working_folder() {
    std::error_code ignored;
    std::filesystem::current_path(before_, ignored);
  }

 private:
  std::filesystem::path before_ = std::filesystem::current_path();
};

}  // namespace uffd::test
