// SPDX-License-Identifier: MIT
// What the engines of write_tracker have in common.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "uffd/page_range.hpp"
#include "uffd/tracking/write_tracker.hpp"

namespace uffd::detail {

// Memory that is tracked, until this ends.
class memory_tracking {
 public:
  memory_tracking() = default;
  memory_tracking(const memory_tracking&) = delete;
  memory_tracking& operator=(const memory_tracking&) = delete;
  virtual ~memory_tracking() = default;

  // Ascending runs of written pages until `into` is full; those shall be found again only when they
  // are written again, if it begins anew. An error behind some that were found is thrown by the
  // call for the rest. Throws std::system_error, or what a callback threw.
  virtual written_pages find(page_range part, std::span<page_range> into, bool begins_anew) = 0;
};

class tracking_engine {
 public:
  tracking_engine() = default;
  tracking_engine(const tracking_engine&) = delete;
  tracking_engine& operator=(const tracking_engine&) = delete;
  virtual ~tracking_engine() = default;

  // Throws std::system_error. What it answers may outlive the engine.
  virtual std::shared_ptr<memory_tracking> track(page_range memory, std::size_t page) = 0;
};

}  // namespace uffd::detail
