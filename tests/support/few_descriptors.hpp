// SPDX-License-Identifier: MIT
// A process that has as many descriptors open as it may.
#pragma once

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "uffd/error.hpp"

namespace uffd::test {

// Until its end no descriptor can be opened (EMFILE).
class no_more_descriptors {
 public:
  no_more_descriptors() {
    // The lowest that is free: all below are taken.
    const int next = ::eventfd(0, EFD_CLOEXEC);
    if (next < 0 || ::getrlimit(RLIMIT_NOFILE, &former_) != 0)
      uffd::detail::throw_errno(errno, "the next descriptor");
    ::close(next);
    const rlimit reached{static_cast<rlim_t>(next), former_.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &reached) != 0)
      uffd::detail::throw_errno(errno, "RLIMIT_NOFILE");
  }
  no_more_descriptors(const no_more_descriptors&) = delete;
  no_more_descriptors& operator=(const no_more_descriptors&) = delete;
  ~no_more_descriptors() { ::setrlimit(RLIMIT_NOFILE, &former_); }

 private:
  rlimit former_{};
};

}  // namespace uffd::test
