// SPDX-License-Identifier: MIT
// A folder for what a run makes itself.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

namespace replay {

// Is gone at the end, with all that is in it.
class scratch_folder {
 public:
  // Throws std::system_error.
  scratch_folder() : path_((std::filesystem::temp_directory_path() / "replay-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr)
      throw std::system_error(errno, std::system_category(), "mkdtemp");
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Of bytes that differ from page to page. Throws std::ios_base::failure.
inline void make_data(const std::string& path, std::uint64_t size) {
  std::ofstream file(path, std::ios::binary);
  file.exceptions(std::ios::badbit | std::ios::failbit);
  std::vector<std::uint64_t> words(std::size_t{1} << 17);
  std::uint64_t next = 0;
  for (std::uint64_t rest = size; rest != 0;) {
    for (auto& word : words) word = ++next * 0x9e3779b97f4a7c15;
    const auto now = std::min<std::uint64_t>(rest, words.size() * sizeof(std::uint64_t));
    file.write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(now));
    rest -= now;
  }
}

}  // namespace replay
