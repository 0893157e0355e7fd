// SPDX-License-Identifier: MIT
/// \file
/// How snapshots are taken, and what is told of one.
#pragma once

#include <chrono>
#include <cstddef>

#include "uffd/open_options.hpp"

namespace uffd {

/// How a uffd::snapshotter works.
struct snapshot_options {
  /// Bytes for pages that are written before they were saved; a writer that finds them used up
  /// waits until its page is saved. Where pages have several sizes each gets its part, and at least
  /// a page must fit. Memory is taken only for what is used, and given back after each snapshot.
  std::size_t extra_memory = std::size_t{64} << 20;
  /// Threads that protect memory, the one that asks for it included.
  unsigned protect_threads = 2;
  /// Threads that serve write faults, as fault_handler_options::threads. Unused where a handler is
  /// given.
  unsigned threads = 0;
  /// How to open the handle. Unused where a handler is given. Faults of system calls are served
  /// whatever it says.
  open_options open = {};
};

/// How far a snapshot is.
struct snapshot_progress {
  std::size_t saved_bytes = 0;  ///< of those below, by now
  std::size_t total_bytes = 0;  ///< that are to be saved; 0 until that is known
};

/// What a snapshot was, once it is complete.
struct snapshot_report {
  bool is_delta = false;                    ///< it has a base
  std::chrono::nanoseconds pause{};         ///< writers stood still
  std::chrono::nanoseconds duration{};      ///< from then on until it was complete
  std::size_t protected_ahead = 0;          ///< bytes: before the pause; some again, once written
  std::size_t protected_in_pause = 0;       ///< bytes: what they wrote meanwhile
  std::size_t saved_bytes = 0;              ///< of pages that are not all zeroes
  std::size_t zero_bytes = 0;               ///< of pages that were there, or are in the base
  std::size_t pre_images = 0;               ///< pages kept aside, for they were written before
  std::size_t peak_extra_memory = 0;        ///< bytes: pages kept aside, and one batch
  std::chrono::nanoseconds longest_wait{};  ///< of a writer held up by one fault, about
};

}  // namespace uffd
