// SPDX-License-Identifier: MIT
#include "support/unix_socket.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace examples {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::system_category(), what);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw std::runtime_error(path + " is too long for the path of a socket");
  path.copy(address.sun_path, path.size());
  return address;
}

uffd::unique_fd make_socket() {
  uffd::unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) fail("socket");
  return socket;
}

}  // namespace

uffd::unique_fd listen_on(const std::string& path) {
  const auto address = address_of(path);
  auto socket = make_socket();
  // A socket that a former run left there; anything else stays, and is in the way.
  if (std::filesystem::is_socket(path)) ::unlink(path.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 8) != 0)
    fail(path);
  return socket;
}

uffd::unique_fd connect_to(const std::string& path, std::chrono::milliseconds limit) {
  const auto address = address_of(path);
  const auto deadline = std::chrono::steady_clock::now() + limit;
  auto socket = make_socket();
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
         0) {
    const bool may_come = errno == ENOENT || errno == ECONNREFUSED || errno == EINTR;
    if (!may_come || std::chrono::steady_clock::now() > deadline) fail(path);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return socket;
}

temporary_folder::temporary_folder()
    : path_((std::filesystem::temp_directory_path() / "uffd_example.XXXXXX").string()) {
  if (::mkdtemp(path_.data()) == nullptr) fail(path_);
}

temporary_folder::~temporary_folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace examples
