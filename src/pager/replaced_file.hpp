// SPDX-License-Identifier: MIT
// Files that are read and written as a whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace uffd::detail {

// All of a regular file; nothing where it has more than `most` bytes. Throws std::system_error.
std::optional<std::string> read_small_file(const std::filesystem::path& file, std::size_t most);

// At no time, not after a crash either, the file has anything but its old content or the new.
// Throws std::system_error, and then it has the old one.
void replace_file(const std::filesystem::path& file, std::string_view content);

}  // namespace uffd::detail
