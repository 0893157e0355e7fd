// SPDX-License-Identifier: MIT
/// \file
/// A range that a fault handler serves until this ends.
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
struct served_range;
}  // namespace detail

/// Keeps a range served; made by fault_handler::serve(). Its end waits for callbacks that run on
/// the range (not for its own, when called from one), closes it as serve_options::on_end says, and
/// unmaps the mapping if it was given one; the same range in forked children is closed as well.
/// After its handler stopped only the mapping remains, and what is left for a successor
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
  served_region(std::shared_ptr<detail::engine> owner,
                std::shared_ptr<detail::served_range> range) noexcept;
  void end() noexcept;

  std::shared_ptr<detail::engine> owner_;
  std::shared_ptr<detail::served_range> range_;
};

}  // namespace uffd
