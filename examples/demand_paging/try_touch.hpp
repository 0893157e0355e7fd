// SPDX-License-Identifier: MIT
// Touching a page that perhaps can't be served.
#pragma once

#include <signal.h>

#include <cstddef>

namespace demand_paging {

// While it lives, try_touch() works. One at a time in the process.
class caught_access_errors {
 public:
  caught_access_errors();
  caught_access_errors(const caught_access_errors&) = delete;
  caught_access_errors& operator=(const caught_access_errors&) = delete;
  ~caught_access_errors();

 private:
  struct sigaction bus_before_ {};
  struct sigaction segmentation_before_ {};
};

// Reads the byte at `at`. False if that raised SIGBUS (a poisoned page) or SIGSEGV (where the
// kernel can't poison, an inaccessible one). From any thread.
bool try_touch(const std::byte* at) noexcept;

}  // namespace demand_paging
