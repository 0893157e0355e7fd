// SPDX-License-Identifier: MIT
// Pages pinned for as long as a device would: io_uring's registered buffers.
#pragma once

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::test {

// Pins the range for writing until its end.
//   const test::pin pinned(memory.page(0));    UFFDPP_REQUIRE(pinned.lacking());
class pin {
 public:
  explicit pin(page_range range) {
    io_uring_params parameters{};
    ring_.reset(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)));
    if (!ring_) {
      number_ = errno;
      return;
    }
    const iovec buffer{reinterpret_cast<void*>(range.begin()), range.size()};
    if (::syscall(SYS_io_uring_register, ring_.get(), IORING_REGISTER_BUFFERS, &buffer, 1) != 0)
      number_ = errno;
  }

  // Why nothing is pinned; nothing if it is.
  std::string lacking() const {
    return number_ == 0 ? "" : std::string("io_uring pins no pages: ") + ::strerror(number_);
  }
  int number() const { return number_; }
  void end() { ring_.reset(); }

 private:
  unique_fd ring_;
  int number_ = 0;
};

}  // namespace uffd::test
