// SPDX-License-Identifier: MIT
#include "reading.hpp"

#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uffd/uffd.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "support/unix_socket.hpp"

namespace shared_cache {
namespace {

void compare(std::span<const std::byte> pages, const uffd::file_source& file) {
  if (file.size() != pages.size())
    throw std::runtime_error(fmt::format("{} bytes, the file has {}", pages.size(), file.size()));
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (std::size_t at = 0; at < pages.size(); at += buffer.size()) {
    const auto part = pages.subspan(at, std::min(buffer.size(), pages.size() - at));
    const auto there = std::span(buffer).first(part.size());
    if (const auto answer = file.read(at, there); answer.error)
      throw std::system_error(answer.error, "reading the file");
    const auto differs = std::ranges::mismatch(part, there).in1 - part.begin();
    if (const auto same = static_cast<std::size_t>(differs); same != part.size())
      throw std::runtime_error(fmt::format("byte {} is not as in the file", at + same));
  }
}

void touch(std::span<const std::byte> pages) {
  for (std::size_t at = 0; at < pages.size(); at += uffd::page_size())
    *static_cast<const volatile std::byte*>(&pages[at]);
}

}  // namespace

reading read_all(const std::string& socket, const std::string& file) {
  const uffd::shared_pages pages(examples::connect_to(socket, std::chrono::seconds(10)));
  const auto begin = std::chrono::steady_clock::now();
  touch(pages.bytes());
  const auto time = std::chrono::steady_clock::now() - begin;
  compare(pages.bytes(), uffd::file_source(file));
  return {pages.bytes().size(), time};
}

void read_apart(const std::string& socket, const std::string& file) {
  std::array<std::string, 4> words{"shared_cache", "read", socket, file};
  const std::array<char*, 5> arguments{words[0].data(), words[1].data(), words[2].data(),
                                       words[3].data(), nullptr};
  pid_t process = -1;
  if (const int number =
          ::posix_spawn(&process, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ);
      number != 0)
    throw std::system_error(number, std::system_category(), "starting a reader");
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error("a reader has failed");
}

}  // namespace shared_cache
