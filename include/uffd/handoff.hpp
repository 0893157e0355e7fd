// SPDX-License-Identifier: MIT
/// \file
/// A handle and its regions sent to another process, over a Unix socket.
///
/// The message, all numbers little-endian: a header of 40 bytes and 64 bytes for each region. With
/// the header's first byte goes exactly one descriptor (SCM_RIGHTS), the userfaultfd.
///
///     header   8  "uffdhand"
///              4  version: 1
///              4  bytes of the whole message
///              4  bytes of one region: 64
///              4  regions
///              4  children: so many messages of the same kind follow, which have none themselves
///              4  flags. 1: faults from inside system calls are served. No other is known
///              8  features negotiated (uffd::feature, unknown bits kept)
///     region   8  first address, 8 bytes, 8 page size, 8 modes, 8 ioctls, 8 tag, 8 offset,
///              8 flags. 1: it was dropped since (region_info::removed). No other is known
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <span>

#include "uffd/detail/export.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/handle.hpp"
#include "uffd/region_info.hpp"
#include "uffd/unique_fd.hpp"

/// Hands memory's faults to another process. Sockets are of AF_UNIX, SOCK_STREAM or SOCK_SEQPACKET,
/// connected, blocking or not, and stay the caller's; nothing beyond the message is read from them,
/// and no signal is raised (SIGPIPE). Functions throw std::system_error, from any thread:
/// ETIMEDOUT; ECONNRESET or EPIPE, the peer is gone; EPROTOTYPE, ENOTSOCK or ENOTCONN, no such
/// socket. After an error the connection holds half a message: close it.
///
/// Who receives a handle can read, write and stop the memory registered on it: send it to none but
/// those trusted with that (uffd::handoff::peer_of). And both share one open file: whoever takes
/// O_NONBLOCK off it can make the other's reads wait, though workers put it back when they see it.
namespace uffd::handoff {

/// Limits of one call.
struct options {
  /// For the whole call.
  std::chrono::milliseconds time_limit = std::chrono::seconds(10);
  /// In one message; more are refused (EMSGSIZE). A receiver's memory is bounded by it.
  std::size_t most_regions = 1024;
  /// Forked children with messages of their own; more are refused (EMSGSIZE).
  std::size_t most_children = 1024;
};

/// Sends a copy of the handle's descriptor, its features and what is registered. The sender keeps
/// its handle, and should: when the last copy closes, missing pages turn to zeroes. While a
/// receiver serves, the sender must not read the handle. Children that the sender forks don't raise
/// faults: they read zeroes where pages are missing, unless the memory is MADV_DONTFORK. Throws
/// also EINVAL for regions that no kernel would have registered, EBADF for a moved-from handle,
/// EOWNERDEAD in a forked child, and EMSGSIZE where the socket's buffer is too small for so many
/// regions in one packet.
UFFDPP_EXPORT void send(int socket, const handle& on, std::span<const region_info> regions,
                        const options& limits = {});
/// The same for what a handler handed over, its children included. It stays the caller's: release()
/// it once the receiver is to decide what becomes of the memory.
UFFDPP_EXPORT void send(int socket, const handed_over& served, const options& limits = {});

/// Receives what send() sent, ready for a fault_handler:
///
///     uffd::fault_handler handler(uffd::handoff::receive(socket), callbacks,
///                                 {.on_stop = uffd::stop_policy::hand_over});
///
/// It is lent (handed_over::lent): dropped or not, the memory stays as it is, for the sender keeps
/// the handle. What a handler leaves behind at its stop is its own policy, as always; with
/// hand_over faults wait for the sender's next receiver. Ranges are addresses of the sender.
///
/// Throws also EBADMSG, what came is no such message or has not exactly one descriptor;
/// EPROTONOSUPPORT, another version; EINVAL, the descriptor is no userfaultfd or has other
/// features; EMSGSIZE, more than the limits; EMFILE, no room for the descriptor. No descriptor
/// stays open then.
UFFDPP_EXPORT handed_over receive(int socket, const options& limits = {});

/// Who is at the other end, as the kernel noted when the connection was made.
struct peer {
  pid_t process = 0;     ///< its number in the caller's PID namespace; 0: it isn't there
  uid_t user = 0;        ///< its effective user
  gid_t group = 0;       ///< its effective group
  unique_fd pidfd = {};  ///< of that process, to see its end; none before Linux 6.5
};

/// Asks the kernel. Of a socketpair it is whoever made the pair.
UFFDPP_EXPORT peer peer_of(int socket);

}  // namespace uffd::handoff
