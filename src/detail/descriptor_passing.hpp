// SPDX-License-Identifier: MIT
// Bytes with one descriptor (SCM_RIGHTS), over a connection.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>

#include "detail/connection.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

// The descriptor goes with the first byte.
void send_with_descriptor(const connection& to, std::span<std::byte> bytes, int descriptor);

// Keeps the first descriptor that comes with messages; closes the others.
class received_descriptors {
 public:
  void take(msghdr& message);
  std::size_t count() const noexcept { return count_; }
  // EBADMSG where it isn't exactly one, EMFILE where there was no room for it.
  unique_fd the_only_one(const connection& from);

 private:
  unique_fd first_;
  std::size_t count_ = 0;
  bool is_cut_off_ = false;
};

struct some_bytes {
  std::size_t count = 0;
  bool is_cut_off = false;
};

// What one call gives. ECONNRESET where the peer is gone.
some_bytes receive_some(const connection& from, std::span<std::byte> into,
                        received_descriptors& with);
// As many bytes as there is room for. ECONNRESET where they end before.
void receive_all(const connection& from, std::span<std::byte> into, received_descriptors& with);

}  // namespace uffd::detail
