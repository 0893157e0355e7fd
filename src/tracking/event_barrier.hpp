// SPDX-License-Identifier: MIT
// Waits until every event that was read by now has been told to its callbacks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "uffd/fault_handler.hpp"
#include "uffd/mapping.hpp"
#include "uffd/served_region.hpp"

namespace uffd::detail {

// Events are told in the order in which they were read: it drops a page of its own, and hears that.
class event_barrier {
 public:
  // `by` hears of removals, and outlives it. Throws std::system_error.
  explicit event_barrier(fault_handler& by);

  // False if the handler does not tell any more.
  bool pass() const noexcept;

 private:
  mapping page_;
  std::shared_ptr<std::atomic<std::uint32_t>> heard_;
  served_region region_;
};

}  // namespace uffd::detail
