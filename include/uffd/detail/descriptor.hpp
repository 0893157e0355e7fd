// SPDX-License-Identifier: MIT
// The reference-counted state behind a handle: the descriptor and what was negotiated on it.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "uffd/detail/process.hpp"
#include "uffd/flags.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

struct descriptor_state {
  unique_fd descriptor;
  flags<feature> features;
  process_mark owner;
  bool kernel_faults = false;
  bool foreign = false;
  std::atomic<std::uint32_t> references{1};

  // 0, or the errno with which every operation is refused.
  int refusal() const noexcept { return owner.in_child() ? EOWNERDEAD : 0; }
};

// Shares one descriptor_state; the descriptor closes with the last of them.
class shared_descriptor {
 public:
  shared_descriptor() noexcept = default;
  explicit shared_descriptor(descriptor_state* state) noexcept : state_(state) {}
  shared_descriptor(const shared_descriptor& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->references.fetch_add(1, std::memory_order_relaxed);
  }
  shared_descriptor(shared_descriptor&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)) {}
  shared_descriptor& operator=(shared_descriptor other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~shared_descriptor() {
    if (state_ != nullptr && state_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
      delete state_;
  }

  descriptor_state* operator->() const noexcept { return state_; }
  explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  descriptor_state* state_ = nullptr;
};

}  // namespace uffd::detail
