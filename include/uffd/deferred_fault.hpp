// SPDX-License-Identifier: MIT
/// \file
/// A fault resolved after its callback returned, from any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "uffd/detail/export.hpp"
#include "uffd/fault.hpp"
#include "uffd/flags.hpp"
#include "uffd/message.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"
#include "uffd/resolve.hpp"

namespace uffd {

/// Owns the duty to answer one fault; made by fault::defer(). The thread that faulted waits until
/// one of the functions below has resolved it. One that ends unresolved fails closed (the page is
/// poisoned), unless its last answer was resolution::retry(): then the page is woken and faults
/// anew. It keeps handler state and descriptor alive; after its region or handler ended it answers
/// resolution::gone(). One that a sigbus_handler gave is empty and answers gone() at once.
/// Move-only; for one thread at a time, which may be any. Nothing here
/// allocates or throws.
class [[nodiscard]] UFFDPP_EXPORT deferred_fault {
 public:
  deferred_fault(deferred_fault&& other) noexcept;
  deferred_fault& operator=(deferred_fault&& other) noexcept;
  ~deferred_fault();

  /// The page, by the page size of its region.
  page_range page() const noexcept { return page_; }
  /// Bytes from the begin of the served range to the page.
  std::size_t offset() const noexcept { return offset_; }
  /// The served range as it was registered.
  const region_info& region() const noexcept { return region_; }
  /// Which address space: 0 is that of the handle, forked children count from 1. Not after a move.
  std::size_t space() const noexcept;
  /// The kernel's message.
  const page_fault& event() const noexcept { return pending_.event; }

  /// Copies whole pages to the page and those that follow it.
  resolution copy(std::span<const std::byte> from, flags<fill_mode> mode = {}) noexcept;
  /// Installs zeroes.
  resolution zeropage() noexcept;
  /// Maps the page that is in the page cache.
  resolution continue_(flags<fill_mode> mode = {}) noexcept;
  /// Moves pages here; `from` becomes a hole.
  resolution move(page_range from, flags<move_mode> mode = {}) noexcept;
  /// Lets writes through.
  resolution unprotect() noexcept;
  /// SIGBUS for whoever waits or touches it later.
  resolution poison() noexcept;
  /// Fails closed with this error, which fault_handler::join() reports.
  resolution fail(std::error_code error) noexcept;

 private:
  friend class fault;

  explicit deferred_fault(const fault& from) noexcept;
  template <class Operation>
  resolution guarded(page_range range, bool wakes, Operation&& operation) noexcept;
  void end() noexcept;

  enum class state : std::uint8_t { waiting, retried, done };

  std::shared_ptr<detail::engine> owner_;
  std::shared_ptr<detail::served_range> client_;
  std::shared_ptr<detail::address_space> space_;
  detail::pending_fault pending_;
  region_info region_;
  page_range page_;
  page_range piece_;
  std::size_t offset_ = 0;
  state state_ = state::done;
};

}  // namespace uffd
