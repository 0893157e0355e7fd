// SPDX-License-Identifier: MIT
// The process's action for SIGBUS: put before the one that is there, which gets what isn't ours.
#pragma once

#include <signal.h>

namespace uffd::detail {

// Whether a signal was dealt with, so that its access may be tried again. Async-signal-safe.
using signal_server = bool (*)(const siginfo_t& info, const ucontext_t& context) noexcept;

// Unless ours is the first already. It stays for ever: a signal that was raised while memory was
// served may be delivered at any time after. Not at the same time as another call. Throws
// std::system_error: EBUSY if ours was put before more different actions than can be told apart.
void install_sigbus_action(signal_server server);

}  // namespace uffd::detail
