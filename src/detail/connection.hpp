// SPDX-License-Identifier: MIT
// A connected Unix socket of somebody else's, and until when its caller may wait.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstddef>

#include "deadline.hpp"

namespace uffd::detail {

class connection {
 public:
  // `call` names the operation in errors. EPROTOTYPE if it is no Unix socket of a type that keeps
  // the order of what it carries.
  connection(int socket, const char* call, std::chrono::milliseconds limit);

  bool is_stream() const noexcept { return type_ == SOCK_STREAM; }

  // Each does once what it can, waiting for that, and answers the bytes done.
  std::size_t send(const msghdr& message) const;
  std::size_t receive(msghdr& message) const;
  // The bytes of the next packet, which stays where it is; 0 when the peer is gone.
  std::size_t size_of_packet() const;

  [[noreturn]] void fail(int number, const char* why) const;

 private:
  int option(int name) const;
  template <class Attempt>
  std::size_t attempt(short event, Attempt&& try_once) const;
  void wait(short event) const;
  [[noreturn]] void give_up(int number) const;

  int socket_;
  const char* call_;
  int type_ = 0;
  deadline deadline_;
};

}  // namespace uffd::detail
