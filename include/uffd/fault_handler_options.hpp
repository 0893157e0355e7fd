// SPDX-License-Identifier: MIT
/// \file
/// How a fault handler runs, and how a range is served.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <vector>

#include "uffd/flags.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"

namespace uffd {

/// What the next toucher of a page that was not served sees after the handler stopped.
enum class stop_policy {
  inaccessible,  ///< SIGBUS or SIGSEGV
  hand_over,     ///< it waits for a successor (fault_handler::hand_over()); what nobody has taken
                 ///< over when the handler ends becomes inaccessible, unless it was lent
  leave_zero,    ///< zeroes
};

/// What becomes of forked children's memory.
enum class fork_policy {
  follow,         ///< served too where feature::event_fork is permitted and the kernel has POISON
                  ///< (Linux 6.6), without which they could never be closed; else as not_inherited,
                  ///< but refused where a callback or `open` demands feature::event_fork
  not_inherited,  ///< mappings that the handler owns are not inherited (MADV_DONTFORK): SIGSEGV
};

/// How a fault_handler runs.
struct fault_handler_options {
  /// Threads that read and serve faults. 0: one on each allowed CPU, pinned, eight at most; with
  /// more CPUs than that set `cpus`. Otherwise so many, left to the scheduler.
  unsigned threads = 0;
  /// One pinned thread for each; `threads` must be 0 or their number.
  std::vector<int> cpus = {};
  /// Threads look for messages without ever sleeping: least latency, a whole CPU each.
  bool busy_polling = false;
  /// What a stop leaves behind.
  stop_policy on_stop = stop_policy::inaccessible;
  /// What becomes of forked children's memory.
  fork_policy forks = fork_policy::follow;
  /// Bytes of fault::buffer() for each thread, at least the largest page served; only what is used
  /// takes memory.
  std::size_t buffer_size = std::size_t{2} << 20;
  /// Whether fault::was_removed() tells what was dropped; needs feature::event_remove, which is
  /// added to `open`. Each drop of pages then copies the table of ranges, where every dropped
  /// stretch is a piece of its own.
  bool tracks_removals = false;
  /// Stops the handler as fault_handler::request_stop() does.
  std::stop_token stop = {};
  /// Count what happens (fault_handler::statistics()).
  bool statistics = false;
  /// How to open the handle, if none is given; the callbacks' features are added.
  open_options open = {};
};

/// How a range is served.
struct serve_options {
  /// Which faults to raise.
  flags<register_mode> modes = register_mode::missing;
  /// Bytes in a page of a range; a mapping knows its own.
  std::size_t page_size = uffd::page_size();
  /// The caller's own, for callbacks that serve several ranges.
  std::uint64_t tag = 0;
  /// What its end leaves where pages are missing.
  close_policy on_end = close_policy::inaccessible;
};

}  // namespace uffd
