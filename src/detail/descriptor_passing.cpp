// SPDX-License-Identifier: MIT
#include "detail/descriptor_passing.hpp"

#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace uffd::detail {
namespace {

struct alignas(cmsghdr) descriptor_space {
  std::array<std::byte, CMSG_SPACE(sizeof(int))> bytes{};
};

void attach(msghdr& message, descriptor_space& space, int descriptor) {
  message.msg_control = space.bytes.data();
  message.msg_controllen = space.bytes.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
}

constexpr int scm_pidfd = 4;  // SCM_PIDFD, Linux 6.5: a descriptor where SO_PASSPIDFD is set

}  // namespace

void send_with_descriptor(const connection& to, std::span<std::byte> bytes, int descriptor) {
  descriptor_space space;
  for (bool is_first = true; !bytes.empty(); is_first = false) {
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (is_first) attach(message, space, descriptor);
    bytes = bytes.subspan(to.send(message));
  }
}

void received_descriptors::take(msghdr& message) {
  is_cut_off_ = is_cut_off_ || (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type != SCM_RIGHTS && header->cmsg_type != scm_pidfd) continue;
    const auto size = header->cmsg_len - CMSG_LEN(0);
    for (std::size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header) + at, sizeof number);
      unique_fd descriptor(number);
      if (header->cmsg_type == SCM_RIGHTS && count_++ == 0) first_ = std::move(descriptor);
    }
  }
}

unique_fd received_descriptors::the_only_one(const connection& from) {
  if (is_cut_off_ && count_ == 0) from.fail(EMFILE, "no room for a descriptor (RLIMIT_NOFILE)");
  if (is_cut_off_ || count_ > 1) from.fail(EBADMSG, "more than one descriptor came");
  if (count_ == 0) from.fail(EBADMSG, "no descriptor came");
  return std::move(first_);
}

some_bytes receive_some(const connection& from, std::span<std::byte> into,
                        received_descriptors& with) {
  alignas(cmsghdr) std::array<std::byte, 512> control{};
  iovec part{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const auto count = from.receive(message);
  with.take(message);
  if (count == 0 && with.count() == 0) from.fail(ECONNRESET, "the peer closed the connection");
  return {count, (message.msg_flags & MSG_TRUNC) != 0};
}

void receive_all(const connection& from, std::span<std::byte> into, received_descriptors& with) {
  while (!into.empty()) {
    const auto some = receive_some(from, into, with);
    if (some.count == 0) from.fail(ECONNRESET, "the peer closed amid the message");
    into = into.subspan(some.count);
  }
}

}  // namespace uffd::detail
