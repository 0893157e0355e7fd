// SPDX-License-Identifier: MIT
// Checksums of a file and of memory, in any order of access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>

#include <uffd/unique_fd.hpp>

namespace larger_than_memory {

// Of bytes in their order: two sums of 64-bit words, as Fletcher has them. All parts but the last
// have whole words.
class checksum {
 public:
  void add(std::span<const std::byte> part) noexcept;
  friend bool operator==(const checksum&, const checksum&) = default;

 private:
  std::uint64_t sum_ = 0;
  std::uint64_t sum_of_sums_ = 0;
};

// The file read by read(2), opened anew, without any paging. Throws std::system_error.
class plain_file {
 public:
  explicit plain_file(const std::string& path);

  checksum sum() const;
  std::uint64_t word(std::uint64_t index) const;

 private:
  uffd::unique_fd file_;
};

// Of `count` words of `words`, chosen at random, the same ones each time.
template <class Word>
std::uint64_t sum_at_random(std::uint64_t words, std::uint64_t count, const Word& word) {
  // The same order in every run, so that it can be repeated: NOLINTNEXTLINE(cert-msc*)
  std::mt19937_64 random;
  std::uniform_int_distribution<std::uint64_t> place(0, words - 1);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < count; ++i) sum = 31 * sum + word(place(random));
  return sum;
}

}  // namespace larger_than_memory
