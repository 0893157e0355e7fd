// SPDX-License-Identifier: MIT
#include "try_touch.hpp"

#include <setjmp.h>

namespace demand_paging {
namespace {

// Where this thread goes on after an access error; volatile, because a signal reads it.
thread_local sigjmp_buf* volatile landing = nullptr;

void land(int number) {
  // An error from anywhere else is raised again, and ends the process as it would have without us.
  if (landing == nullptr)
    ::signal(number, SIG_DFL);
  else
    ::siglongjmp(*landing, 1);  // NOLINT(cert-err52-cpp): no object's lifetime is jumped over
}

}  // namespace

caught_access_errors::caught_access_errors() {
  struct sigaction action {};
  action.sa_handler = &land;
  action.sa_flags =
      SA_NODEFER;  // the jump doesn't restore the signal mask, so nothing may be added
  ::sigaction(SIGBUS, &action, &bus_before_);
  ::sigaction(SIGSEGV, &action, &segmentation_before_);
}

caught_access_errors::~caught_access_errors() {
  ::sigaction(SIGBUS, &bus_before_, nullptr);
  ::sigaction(SIGSEGV, &segmentation_before_, nullptr);
}

bool try_touch(const std::byte* at) noexcept {
  sigjmp_buf here;
  const bool failed = sigsetjmp(here, 0) != 0;  // NOLINT(cert-err52-cpp)
  if (!failed) {
    landing = &here;
    static_cast<void>(*static_cast<const volatile std::byte*>(at));
  }
  landing = nullptr;
  return !failed;
}

}  // namespace demand_paging
