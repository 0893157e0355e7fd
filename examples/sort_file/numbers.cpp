// SPDX-License-Identifier: MIT
#include "numbers.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <random>
#include <span>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace sort_file {
namespace {

constexpr std::size_t at_once = std::size_t{128} << 10;  // integers

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::system_category(), what);
}

// The integers that begin at `offset`, as many as there are room for and in the file.
std::size_t read_at(int file, std::uint64_t offset, std::span<std::uint64_t> to) {
  const auto bytes = std::as_writable_bytes(to);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto got =
        ::pread(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got > 0)
      done += static_cast<std::size_t>(got);
    else if (errno != EINTR)
      fail("reading it");
  }
  if (done % sizeof(std::uint64_t) != 0)
    throw std::runtime_error("its last integer has less than eight bytes");
  return done / sizeof(std::uint64_t);
}

void write_all(int file, std::span<const std::byte> from) {
  while (!from.empty()) {
    const auto put = ::write(file, from.data(), from.size());
    if (put >= 0)
      from = from.subspan(static_cast<std::size_t>(put));
    else if (errno != EINTR)
      fail("writing it");
  }
}

// That of splitmix64: what differs in one bit differs in half of them.
std::uint64_t mixed(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ value >> 30U) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27U) * 0x94d049bb133111eb;
  return value ^ value >> 31U;
}

}  // namespace

uffd::unique_fd open_file(const std::string& path, bool makes) {
  const int how = O_RDWR | O_CLOEXEC | O_NONBLOCK | (makes ? O_CREAT | O_EXCL : 0);
  uffd::unique_fd file(::open(path.c_str(), how, 0666));
  if (!file) fail(makes ? "making it" : "opening it");
  return file;
}

uffd::unique_fd make_scratch_file(const std::filesystem::path& folder) {
  auto name = (folder / "sort_file.XXXXXX").string();
  uffd::unique_fd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file || ::unlink(name.c_str()) != 0) fail("a scratch file in " + folder.string());
  return file;
}

void fill_at_random(int file, std::uint64_t count) {
  std::mt19937_64 random(std::random_device{}());
  std::vector<std::uint64_t> numbers(at_once);
  while (count != 0) {
    const auto some =
        std::span(numbers).first(static_cast<std::size_t>(std::min<std::uint64_t>(count, at_once)));
    std::generate(some.begin(), some.end(), std::ref(random));
    write_all(file, std::as_bytes(some));
    count -= some.size();
  }
}

content read_content(int file) {
  content all;
  std::vector<std::uint64_t> numbers(at_once);
  std::uint64_t last = 0;
  while (const auto size = read_at(file, all.count * sizeof last, numbers)) {
    for (const auto number : std::span(numbers).first(size)) {
      all.is_sorted = all.is_sorted && last <= number;
      all.hash += mixed(number);
      last = number;
    }
    all.count += size;
  }
  return all;
}

}  // namespace sort_file
