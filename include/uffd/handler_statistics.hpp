// SPDX-License-Identifier: MIT
/// \file
/// What a fault handler counted.
#pragma once

#include <cstdint>

#include "uffd/latency_histogram.hpp"

namespace uffd {

/// Counters of a fault handler since its start, taken while it runs: each is exact, all together
/// are not of one instant. Counted only if asked for (fault_handler_options::statistics).
///
/// A fault outside every served range is a stranger: it is woken first, for its range may just have
/// ended or be about to come; if it keeps coming for about two and a half seconds it fails closed.
/// It is counted when it is read, not among `failed`.
struct handler_statistics {
  std::uint64_t missing = 0;             ///< faults dispatched, by kind
  std::uint64_t minor = 0;               ///< "
  std::uint64_t write_protect = 0;       ///< "
  std::uint64_t read_write_protect = 0;  ///< "
  std::uint64_t resolved = 0;            ///< answered: the page is there
  std::uint64_t retried = 0;             ///< parked to be tried again (EAGAIN)
  std::uint64_t gone = 0;                ///< outdated, or range or process gone
  std::uint64_t deferred = 0;            ///< handed to a deferred_fault
  std::uint64_t failed = 0;              ///< failed closed
  std::uint64_t strangers = 0;           ///< outside every served range: woken, failed if they last
  std::uint64_t dropped = 0;             ///< no room to park them; woken to come again
  std::uint64_t events = 0;              ///< fork, remap, remove, unmap
  std::uint64_t empty_reads = 0;         ///< another thread had read the message
  std::uint64_t children = 0;            ///< forked children followed now
  latency_histogram latency;             ///< from reading the message to its answer
};

}  // namespace uffd
