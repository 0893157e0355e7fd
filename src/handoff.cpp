// SPDX-License-Identifier: MIT
#include "uffd/handoff.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "detail/connection.hpp"
#include "detail/descriptor_passing.hpp"
#include "detail/handoff_message.hpp"
#include "uffd/error.hpp"

namespace uffd::handoff {
namespace {

using detail::connection;

// The header counts bytes in 32 bits.
constexpr std::size_t most_encoded_regions =
    (std::size_t{1} << 32) / detail::handoff_region_size - 1;

void refuse(const connection& by, const detail::handoff_problem& problem) {
  if (problem) by.fail(problem.number, problem.what);
}

// --- sending ---

std::vector<std::byte> message_of(const connection& to, const handle& on,
                                  std::span<const region_info> regions, std::size_t children,
                                  const options& limits) {
  const auto& state = detail::handle_access::state(on);
  if (!state) to.fail(EBADF, "a moved-from handle");
  if (state->refusal() != 0) to.fail(state->refusal(), "in a forked child");
  if (regions.size() > std::min(limits.most_regions, most_encoded_regions))
    to.fail(EMSGSIZE, "more than options::most_regions");
  refuse(to, detail::problem_of(regions));
  return detail::encode_handoff(
      {0, static_cast<std::uint32_t>(children), on.serves_kernel_faults(), on.features()}, regions);
}

// --- receiving ---

detail::handoff_header header_of(const connection& from, std::span<const std::byte> bytes,
                                 const options& limits) {
  if (bytes.size() < detail::handoff_header_size) from.fail(EBADMSG, "it is cut off");
  detail::handoff_header header;
  refuse(from, detail::decode_handoff_header(bytes.first<detail::handoff_header_size>(), header));
  if (header.regions > limits.most_regions) from.fail(EMSGSIZE, "more than options::most_regions");
  if (header.children > limits.most_children)
    from.fail(EMSGSIZE, "more than options::most_children");
  return header;
}

struct message {
  detail::handoff_header header;
  std::vector<region_info> regions;
  detail::received_descriptors with;
};

// Exactly its bytes; memory only for as many regions as may come.
message receive_from_stream(const connection& from, const options& limits) {
  message received;
  std::array<std::byte, detail::handoff_header_size> first{};
  detail::receive_all(from, first, received.with);
  received.header = header_of(from, first, limits);
  std::vector<std::byte> rest(received.header.regions * detail::handoff_region_size);
  detail::receive_all(from, rest, received.with);
  refuse(from, detail::decode_handoff_regions(rest, received.regions));
  return received;
}

message receive_packet(const connection& from, const options& limits) {
  message received;
  // One that is larger is cut off, and says by its header how many regions it has.
  const auto most = detail::handoff_size(std::min(limits.most_regions, most_encoded_regions));
  std::vector<std::byte> packet(
      std::clamp(from.size_of_packet(), detail::handoff_header_size, most));
  const auto got = detail::receive_some(from, packet, received.with);
  received.header = header_of(from, std::span(packet).first(got.count), limits);
  if (got.is_cut_off || got.count != detail::handoff_size(received.header.regions))
    from.fail(EBADMSG, "the packet has another size than it says");
  refuse(from, detail::decode_handoff_regions(
                   std::span(packet).first(got.count).subspan(detail::handoff_header_size),
                   received.regions));
  return received;
}

handed_over receive_one(const connection& from, const options& limits, std::uint32_t& children) {
  auto received =
      from.is_stream() ? receive_from_stream(from, limits) : receive_packet(from, limits);
  handle on = handle::adopt(received.with.the_only_one(from), received.header.features);
  detail::handle_access::state(on)->kernel_faults = received.header.kernel_faults;
  children = received.header.children;
  handed_over one(std::move(on), std::move(received.regions));
  one.lent = true;
  return one;
}

}  // namespace

void send(int socket, const handle& on, std::span<const region_info> regions,
          const options& limits) {
  const connection to(socket, "handoff::send", limits.time_limit);
  auto bytes = message_of(to, on, regions, 0, limits);
  detail::send_with_descriptor(to, bytes, on.fd());
}

void send(int socket, const handed_over& served, const options& limits) {
  const connection to(socket, "handoff::send", limits.time_limit);
  if (served.children.size() > std::min<std::size_t>(limits.most_children, UINT32_MAX))
    to.fail(EMSGSIZE, "more than options::most_children");
  // All is refused before anything is sent.
  std::vector<std::vector<std::byte>> messages;
  messages.push_back(message_of(to, served.on, served.regions, served.children.size(), limits));
  for (const auto& child : served.children) {
    if (!child.children.empty()) to.fail(EINVAL, "a child has children of its own");
    messages.push_back(message_of(to, child.on, child.regions, 0, limits));
  }
  detail::send_with_descriptor(to, messages.front(), served.on.fd());
  for (std::size_t i = 0; i < served.children.size(); ++i)
    detail::send_with_descriptor(to, messages[i + 1], served.children[i].on.fd());
}

handed_over receive(int socket, const options& limits) {
  const connection from(socket, "handoff::receive", limits.time_limit);
  std::uint32_t children = 0;
  handed_over all = receive_one(from, limits, children);
  for (std::uint32_t i = 0; i < children; ++i) {
    std::uint32_t grandchildren = 0;
    all.children.push_back(receive_one(from, limits, grandchildren));
    if (grandchildren != 0) from.fail(EBADMSG, "a child has children of its own");
  }
  return all;
}

peer peer_of(int socket) {
  ucred found{};
  socklen_t size = sizeof found;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &found, &size) != 0)
    detail::throw_errno(errno, "handoff::peer_of: SO_PEERCRED");
  if (found.uid == static_cast<uid_t>(-1))
    detail::throw_errno(ENOTCONN, "handoff::peer_of: the socket");
  constexpr int peer_pidfd = 77;  // SO_PEERPIDFD, Linux 6.5
  int pidfd = -1;
  size = sizeof pidfd;
  if (::getsockopt(socket, SOL_SOCKET, peer_pidfd, &pidfd, &size) != 0) pidfd = -1;
  return {found.pid, found.uid, found.gid, unique_fd(pidfd)};
}

}  // namespace uffd::handoff
