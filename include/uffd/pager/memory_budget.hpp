// SPDX-License-Identifier: MIT
/// \file
/// How much memory pagers may fill.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "uffd/detail/export.hpp"

namespace uffd {

namespace detail {
class evictor;
struct budget_access;
}  // namespace detail

/// A limit of the bytes that are resident in paged memory, shared by any number of pagers and
/// mappings: copies are the same budget. A page is counted before it is filled and until it was
/// dropped, so the limit is never exceeded by what it counts: pages, and the buffers of pagers'
/// threads. Pages are evicted by a thread of the budget's own, a little before the limit is
/// reached, and by whoever finds no room; clean ones first, and those that came back soon after an
/// eviction last. All members may be called from any thread.
class UFFDPP_EXPORT memory_budget {
 public:
  /// No limit.
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  /// A budget of so many bytes. Throws std::system_error if no thread can be started.
  explicit memory_budget(std::size_t bytes = unlimited);

  /// Bytes.
  std::size_t limit() const noexcept;
  /// Changes it. Where it becomes less than what is resident, pages are evicted in the background.
  /// Throws std::system_error if no thread can be started.
  void set_limit(std::size_t bytes);
  /// Bytes that are counted now.
  std::size_t resident() const noexcept;

 private:
  friend struct detail::budget_access;
  std::shared_ptr<detail::evictor> evictor_;
};

}  // namespace uffd
