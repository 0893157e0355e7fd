// SPDX-License-Identifier: MIT
// Files of 64-bit integers, written and read without any paging.
#pragma once

#include <uffd/unique_fd.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

namespace sort_file {

// All throw std::system_error.

// Opens a file to be read and written, or makes one that was not there.
uffd::unique_fd open_file(const std::string& path, bool makes);
// A file without a name in that folder, which is gone when it is closed.
uffd::unique_fd make_scratch_file(const std::filesystem::path& folder);
// Fills a file with random integers, other ones each time.
void fill_at_random(int file, std::uint64_t count);

// What a file holds, as read(2) gives it.
struct content {
  std::uint64_t count = 0;
  std::uint64_t hash = 0;  // the same in whatever order they are
  bool is_sorted = true;
};
content read_content(int file);

}  // namespace sort_file
