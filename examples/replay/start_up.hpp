// SPDX-License-Identifier: MIT
// A start-up: what it reads of its data, and what it should find there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace replay {

// Some neighbouring blocks of 4 KiB; of the last one what the data has of it.
struct object {
  std::uint64_t offset = 0;
  std::size_t size = 0;
};

// A twentieth of the data, in objects of 4 to 32 KiB at random places, in random order; the same
// ones in each run.
std::vector<object> objects_of(std::uint64_t size);

// Reads all bytes of an object; equal for equal bytes.
std::uint64_t hash_of(std::span<const std::byte> bytes) noexcept;

// By read(2), without any paging. Throws std::system_error.
std::vector<std::uint64_t> hashes_in_file(const std::string& path, std::span<const object> objects);

}  // namespace replay
