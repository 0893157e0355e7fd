// SPDX-License-Identifier: MIT
/// \file
/// A range that a handler serves until this ends.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "uffd/detail/export.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"

namespace uffd {

namespace detail {
class engine;
class in_thread_server;
class range_owner;
struct served_range;
}  // namespace detail

/// Keeps a range served; made by the serve() of a fault_handler, fault_loop or sigbus_handler. Its
/// end waits for callbacks that run on the range (not for its own, when called from one, which
/// those of a sigbus_handler must not do), closes it as serve_options::on_end says, and unmaps the
/// mapping if it was given one; the same range in forked children that are served is closed as
/// well. After its handler stopped only the mapping remains, and what is left for a successor
/// (stop_policy::hand_over) stays registered beyond this object. It keeps the descriptor open. A
/// handler object given to serve() for this range alone is destroyed some time after, perhaps on a
/// thread of the handler. Two callbacks must not each end the range that the other one runs on:
/// they would wait for each other. Move-only; distinct objects may be used from distinct threads.
class [[nodiscard]] UFFDPP_EXPORT served_region {
 public:
  /// Serves nothing.
  served_region() noexcept = default;
  served_region(served_region&& other) noexcept = default;
  served_region& operator=(served_region&& other) noexcept;
  ~served_region();

  /// What was registered. Not after a move, nor complete().
  const region_info& info() const noexcept;
  /// The memory of the mapping it owns; empty if it was given a range.
  std::span<std::byte> bytes() const noexcept;
  /// Declares that every page is there or may be read as zeroes: the end leaves zeroes.
  void complete() noexcept;

 private:
  friend class detail::engine;
  friend class detail::in_thread_server;
  served_region(std::shared_ptr<detail::range_owner> owner,
                std::shared_ptr<detail::served_range> range) noexcept;
  void end() noexcept;

  std::shared_ptr<detail::range_owner> owner_;
  std::shared_ptr<detail::served_range> range_;
};

}  // namespace uffd
