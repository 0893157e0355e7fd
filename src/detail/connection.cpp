// SPDX-License-Identifier: MIT
#include "connection.hpp"

#include <poll.h>

#include <cerrno>
#include <string>

#include "uffd/error.hpp"

namespace uffd::detail {

connection::connection(int socket, const char* call, std::chrono::milliseconds limit)
    : socket_(socket), call_(call), deadline_(deadline::after(limit)) {
  if (option(SO_DOMAIN) != AF_UNIX) fail(EPROTOTYPE, "not a Unix socket");
  type_ = option(SO_TYPE);
  if (type_ != SOCK_STREAM && type_ != SOCK_SEQPACKET)
    fail(EPROTOTYPE, "neither SOCK_STREAM nor SOCK_SEQPACKET");
}

std::size_t connection::send(const msghdr& message) const {
  return attempt(POLLOUT,
                 [&] { return ::sendmsg(socket_, &message, MSG_DONTWAIT | MSG_NOSIGNAL); });
}

std::size_t connection::receive(msghdr& message) const {
  // The kernel changes it even where nothing was there.
  const msghdr asked = message;
  return attempt(POLLIN, [&] {
    message = asked;
    return ::recvmsg(socket_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  });
}

std::size_t connection::size_of_packet() const {
  return attempt(POLLIN,
                 [&] { return ::recv(socket_, nullptr, 0, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC); });
}

void connection::fail(int number, const char* why) const {
  throw_errno(number, std::string(call_) + ": " + why);
}

int connection::option(int name) const {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(socket_, SOL_SOCKET, name, &value, &size) != 0)
    fail(errno, "asking for the kind of socket");
  return value;
}

template <class Attempt>
std::size_t connection::attempt(short event, Attempt&& try_once) const {
  for (;;) {
    const ssize_t done = try_once();
    if (done >= 0) return static_cast<std::size_t>(done);
    if (errno == EAGAIN)
      wait(event);
    else if (errno != EINTR)
      give_up(errno);
  }
}

void connection::wait(short event) const {
  pollfd entry{socket_, event, 0};
  const int number = deadline_.wait({&entry, 1});
  if (number == ETIMEDOUT) fail(number, "the peer takes too long");
  if (number != 0) give_up(number);
}

void connection::give_up(int number) const {
  // What recvmsg calls a stream that isn't connected.
  if (number == EINVAL) number = ENOTCONN;
  if (number == EMSGSIZE) fail(number, "the socket's buffer is too small for one packet");
  fail(number, "the socket");
}

}  // namespace uffd::detail
