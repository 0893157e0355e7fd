// SPDX-License-Identifier: MIT
// Memory of any kind, served by callbacks in the threads that touch it.
#pragma once

#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "support/memory.hpp"
#include "support/sanitizers.hpp"
#include "support/serving.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd::test {

// Pages of a kind, all served by one callback.
//   serving_in_thread served(kind, 4, [](fault& raised) noexcept { return fill(raised, 7); });
//   EXPECT_EQ(look(served.at(0)), shows(7));
class serving_in_thread : public served_by<sigbus_handler> {
 public:
  template <class H>
  serving_in_thread(memory_kind kind, std::size_t pages, H&& callback,
                    flags<register_mode> modes = register_mode::missing,
                    sigbus_handler_options options = {})
      : served_by(kind, pages, modes, async_signal_safe, std::forward<H>(callback),
                  adapted(options, kind, modes)) {}
  // Anonymous memory.
  template <class H>
  explicit serving_in_thread(std::size_t pages, H&& callback)
      : serving_in_thread(memory_kind::anonymous, pages, std::forward<H>(callback)) {}

 private:
  static sigbus_handler_options adapted(sigbus_handler_options options, memory_kind kind,
                                        flags<register_mode> modes) {
    options.open.required |= features_of(kind, modes);
    options.open.optional |= feature::poison | feature::move;
    return options;
  }
};

// For callbacks: waits as a signal handler may. Whoever waits in vain is ended by the watchdog.
template <class Condition>
void spin_until(Condition condition) noexcept {
  while (!condition()) ::sched_yield();
}

// UFFDPP_REQUIRE(faults_in_callbacks());
inline std::string faults_in_callbacks() {
  return thread_sanitizer ? "ThreadSanitizer blocks all signals in signal handlers" : "";
}

// The error that was kept of a fault that failed; none if nothing failed since.
inline std::error_code kept_error(sigbus_handler& handler) {
  try {
    handler.rethrow_error();
    return {};
  } catch (const std::system_error& error) {
    return error.code();
  }
}

}  // namespace uffd::test
