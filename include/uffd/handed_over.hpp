// SPDX-License-Identifier: MIT
/// \file
/// What a handler that stopped leaves for its successor.
#pragma once

#include <vector>

#include "uffd/detail/export.hpp"
#include "uffd/handle.hpp"
#include "uffd/region_info.hpp"

namespace uffd {

/// A handle and what is registered on it, for a successor. Nobody reads it meanwhile: faults wait,
/// and so does who forks, unmaps, moves or removes what is served; fork() waits with the
/// allocator's locks, so keep other threads from it until the successor runs. At its end, what no
/// fault_handler took becomes inaccessible, unless released; also what a served_region had declared
/// complete(), for that is not carried over. Move-only.
struct UFFDPP_EXPORT handed_over {
  handle on;                               ///< still open, faults wait on it
  std::vector<region_info> regions = {};   ///< what is registered
  std::vector<handed_over> children = {};  ///< the same for each forked child that was followed
  /// Who sent it keeps the handle, too, and decides what becomes of the memory: the end of this
  /// closes nothing, nor does a fault_handler that can't start on it, nor one that stops as
  /// stop_policy::hand_over and that nobody takes over from. Each child says it for itself.
  bool lent = false;

  explicit handed_over(handle from, std::vector<region_info> registered = {});
  handed_over(handed_over&& other) noexcept = default;
  handed_over& operator=(handed_over&& other) noexcept;
  ~handed_over();
  /// Another process serves it: its end closes nothing.
  void release() noexcept;

 private:
  void close() noexcept;
};

}  // namespace uffd
