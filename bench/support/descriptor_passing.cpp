// SPDX-License-Identifier: MIT
#include "support/descriptor_passing.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>

namespace uffd::bench {
namespace {

struct alignas(cmsghdr) control_buffer {
  std::array<char, CMSG_SPACE(sizeof(int))> bytes{};
};

msghdr describe(iovec& payload, control_buffer& control) {
  msghdr message{};
  message.msg_iov = &payload;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  return message;
}

}  // namespace

void send_registration(int socket, int descriptor, const sent_registration& what) {
  sent_registration copy = what;
  iovec payload{&copy, sizeof copy};
  control_buffer control;
  const msghdr message = describe(payload, control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof copy))
    throw std::system_error(errno, std::system_category(), "sendmsg");
}

received_registration receive_registration(int socket) {
  received_registration result;
  iovec payload{&result.registration, sizeof result.registration};
  control_buffer control;
  msghdr message = describe(payload, control);
  const ssize_t size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
  if (size < 0) throw std::system_error(errno, std::system_category(), "recvmsg");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS ||
      size != static_cast<ssize_t>(sizeof result.registration))
    throw std::system_error(EPROTO, std::system_category(), "no descriptor was sent");
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  result.descriptor.reset(descriptor);
  return result;
}

}  // namespace uffd::bench
