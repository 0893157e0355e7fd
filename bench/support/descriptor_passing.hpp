// SPDX-License-Identifier: MIT
// A userfaultfd and what is registered on it, sent to another process over a Unix socket.
#pragma once

#include <cstdint>

#include "uffd/unique_fd.hpp"

namespace uffd::bench {

// A registration in the sender's memory: numbers only, the addresses mean nothing to the receiver.
struct sent_registration {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
  std::uint64_t modes = 0;
  std::uint64_t ioctls = 0;
  std::uint64_t features = 0;
};

struct received_registration {
  unique_fd descriptor;
  sent_registration registration;
};

// Both throw std::system_error.
void send_registration(int socket, int descriptor, const sent_registration& what);
received_registration receive_registration(int socket);

}  // namespace uffd::bench
