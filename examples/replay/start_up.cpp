// SPDX-License-Identifier: MIT
#include "start_up.hpp"

#include <uffd/pager/file_source.hpp>

#include <algorithm>
#include <cstring>
#include <random>
#include <system_error>

namespace replay {
namespace {

constexpr std::size_t block = 4096;
constexpr std::size_t most_blocks = 8;

}  // namespace

std::vector<object> objects_of(std::uint64_t size) {
  const auto blocks = (size + block - 1) / block;
  // The same order in every run: NOLINTNEXTLINE(cert-msc*)
  std::mt19937_64 random;
  std::vector<object> objects;
  for (std::uint64_t chosen = 0; chosen < (blocks + 19) / 20;) {
    const auto first = random() % blocks;
    const auto count = std::min(random() % most_blocks + 1, blocks - first);
    const auto offset = first * block;
    objects.push_back(
        {offset, static_cast<std::size_t>(std::min<std::uint64_t>(count * block, size - offset))});
    chosen += count;
  }
  return objects;
}

std::uint64_t hash_of(std::span<const std::byte> bytes) noexcept {
  std::uint64_t hash = bytes.size();
  const auto* at = bytes.data();
  const auto* const end = at + bytes.size();
  while (at != end) {
    std::uint64_t word = 0;
    const auto rest = static_cast<std::size_t>(end - at);
    const auto size = rest < sizeof word ? rest : sizeof word;
    std::memcpy(&word, at, size);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29U;
    at += size;
  }
  return hash;
}

std::vector<std::uint64_t> hashes_in_file(const std::string& path,
                                          std::span<const object> objects) {
  const uffd::file_source file(path);
  std::vector<std::byte> buffer(most_blocks * block);
  std::vector<std::uint64_t> hashes;
  for (const auto& each : objects) {
    const auto bytes = std::span(buffer).first(each.size);
    if (const auto read = file.read(each.offset, bytes); read.error)
      throw std::system_error(read.error, "reading it");
    hashes.push_back(hash_of(bytes));
  }
  return hashes;
}

}  // namespace replay
