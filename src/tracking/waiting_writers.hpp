// SPDX-License-Identifier: MIT
// Writers that wait until their page is saved, for all buffers are in use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "uffd/deferred_fault.hpp"
#include "uffd/fault.hpp"

namespace uffd::detail {

struct waiting_writer {
  deferred_fault fault;
  std::size_t area = 0;
  std::size_t page = 0;
  std::int64_t since = 0;  // nanoseconds
};

// In the order in which they came. A lock, for whoever comes here is about to wait anyway.
class waiting_writers {
 public:
  // Defers the fault if somebody will see to it; else false.
  bool add(fault& raised, std::size_t area, std::size_t page, std::int64_t now) noexcept {
    const std::lock_guard lock(mutex_);
    if (!open_ || count_ == places_.size()) return false;
    places_[(first_ + count_) % places_.size()].emplace(
        waiting_writer{raised.defer(), area, page, now});
    ++count_;
    return true;
  }
  std::optional<waiting_writer> take() noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == 0) return std::nullopt;
    auto taken = std::exchange(places_[first_], std::nullopt);
    first_ = (first_ + 1) % places_.size();
    --count_;
    return taken;
  }
  // Whether somebody sees to those that come.
  void open(bool is_open) noexcept {
    const std::lock_guard lock(mutex_);
    open_ = is_open;
  }

 private:
  std::mutex mutex_;
  bool open_ = false;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::array<std::optional<waiting_writer>, 128> places_;
};

}  // namespace uffd::detail
