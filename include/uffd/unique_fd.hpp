// SPDX-License-Identifier: MIT
/// \file
/// Ownership of one file descriptor.
#pragma once

#include <unistd.h>

#include <utility>

namespace uffd {

/// Owns a file descriptor and closes it at its end; -1 stands for none. Move-only. Distinct objects
/// may be used from distinct threads.
class [[nodiscard]] unique_fd {
 public:
  /// Owns nothing.
  unique_fd() noexcept = default;
  /// Takes ownership of `descriptor`.
  explicit unique_fd(int descriptor) noexcept : descriptor_(descriptor) {}
  /// Leaves `other` owning nothing.
  unique_fd(unique_fd&& other) noexcept : descriptor_(other.release()) {}
  /// Closes what it owned; leaves `other` owning nothing.
  unique_fd& operator=(unique_fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~unique_fd() { reset(); }

  /// The descriptor, or -1.
  [[nodiscard]] int get() const noexcept { return descriptor_; }
  /// True if it owns one.
  explicit operator bool() const noexcept { return descriptor_ >= 0; }
  /// Gives the descriptor away without closing it.
  [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }
  /// Closes what it owns, then owns `descriptor`.
  void reset(int descriptor = -1) noexcept {
    // Not retried on EINTR: Linux has released the number by then.
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = descriptor;
  }

 private:
  int descriptor_ = -1;
};

}  // namespace uffd
