// SPDX-License-Identifier: MIT
// Pairs of Unix sockets, and what a peer may send through them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "uffd/error.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::test {

class socket_pair {
 public:
  explicit socket_pair(int type) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0)
      uffd::detail::throw_errno(errno, "socketpair");
    one_.reset(ends[0]);
    other_.reset(ends[1]);
  }

  int one() const { return one_.get(); }
  int other() const { return other_.get(); }
  void close_one() { one_.reset(); }
  void close_other() { other_.reset(); }

 private:
  unique_fd one_;
  unique_fd other_;
};

// A name that any process may connect to, chosen by the kernel.
class listening_name {
 public:
  explicit listening_name(int type = SOCK_STREAM) : type_(type), socket_(make()) {
    address_.sun_family = AF_UNIX;
    if (::bind(socket_.get(), address(), sizeof address_.sun_family) != 0 ||
        ::listen(socket_.get(), 64) != 0 ||
        ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address_), &size_) != 0)
      uffd::detail::throw_errno(errno, "a listening socket");
  }

  // The socket itself, for whoever accepts.
  unique_fd take() { return std::move(socket_); }
  unique_fd connect() const {
    unique_fd socket = make();
    if (::connect(socket.get(), address(), size_) != 0) uffd::detail::throw_errno(errno, "connect");
    return socket;
  }

 private:
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  unique_fd make() const { return unique_fd(::socket(AF_UNIX, type_ | SOCK_CLOEXEC, 0)); }

  int type_;
  sockaddr_un address_{};
  socklen_t size_ = sizeof address_;
  unique_fd socket_;
};

// All of `bytes`, with these descriptors at the first of them. True if all was sent at once.
inline bool send_bytes(int socket, std::span<const std::byte> bytes,
                       const std::vector<int>& descriptors = {}) {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  std::vector<std::byte> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
  }
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

// What there is to be read, at most `most` bytes; descriptors that come with it are lost.
inline std::vector<std::byte> receive_bytes(int socket, std::size_t most = 1U << 20) {
  std::vector<std::byte> bytes(most);
  const ssize_t count = ::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT);
  bytes.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  return bytes;
}

// Until nothing more fits.
inline void fill_up(int socket) {
  const std::array<std::byte, 512> some{};
  while (::send(socket, some.data(), some.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
  }
}

inline bool is_close_on_exec(int descriptor) {
  return (::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) != 0;
}

// INSTANTIATE_TEST_SUITE_P(sockets, ..., both_sockets, socket_name): for each type of socket that
// a hand-off may go by.
inline const auto both_sockets = testing::Values(SOCK_STREAM, SOCK_SEQPACKET);
inline std::string socket_name(const testing::TestParamInfo<int>& type) {
  return type.param == SOCK_STREAM ? "stream" : "packets";
}

}  // namespace uffd::test
