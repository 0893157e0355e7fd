// SPDX-License-Identifier: MIT
// What becomes of an example that touches a page which its source can't give.
#pragma once

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <string_view>

namespace examples {

// SIGBUS, or SIGSEGV where the kernel can't poison pages, ends the process with a message. To be
// called before a pager is made that serves faults in the threads that raise them: it passes on to
// whoever was there before what is no fault of its own.
inline void end_on_access_error() {
  struct sigaction action {};
  action.sa_handler = [](int) {
    const std::string_view name = program_invocation_short_name;
    constexpr std::string_view text = ": a page that was touched could not be read\n";
    for (const auto part : {name, text})
      if (::write(STDERR_FILENO, part.data(), part.size()) < 0) break;
    ::_exit(1);
  };
  ::sigaction(SIGBUS, &action, nullptr);
  ::sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace examples
