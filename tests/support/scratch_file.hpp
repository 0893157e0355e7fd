// SPDX-License-Identifier: MIT
// A file for one test.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "uffd/error.hpp"

namespace uffd::test {

// Has that content at first; is gone at the end.
class scratch_file {
 public:
  explicit scratch_file(std::string_view content)
      : path_((std::filesystem::temp_directory_path() / "uffd-test-XXXXXX").string()) {
    const int file = ::mkstemp(path_.data());
    if (file == -1) uffd::detail::throw_errno(errno, "mkstemp: " + path_);
    ::close(file);
    write(content);
  }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  ~scratch_file() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string content() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(std::string_view content) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
  }

 private:
  std::string path_;
};

}  // namespace uffd::test
