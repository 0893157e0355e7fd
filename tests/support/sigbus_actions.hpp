// SPDX-License-Identifier: MIT
// Actions for SIGBUS that note what they are called with.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace uffd::test {

// What the former action saw. Written by one thread, in a signal handler.
struct heard {
  int signals = 0;
  const void* address = nullptr;
  int code = 0;
  int value = 0;
  bool has_context = false;
  bool blocks_sigbus = false;
  bool blocks_usr1 = false;
};
inline heard last;

inline void note_mask() {
  sigset_t mask;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  last.blocks_sigbus = sigismember(&mask, SIGBUS) == 1;
  last.blocks_usr1 = sigismember(&mask, SIGUSR1) == 1;
}
inline void hear(int, siginfo_t* info, void* context) {
  ++last.signals;
  last.address = info->si_addr;
  last.code = info->si_code;
  last.value = info->si_value.sival_int;
  last.has_context = context != nullptr;
  note_mask();
}
inline void hear_number(int number) {
  ++last.signals;
  last.value = number;
  note_mask();
}
inline void set_action(void (*function)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = function;
  action.sa_flags = SA_SIGINFO | flags;
  sigaddset(&action.sa_mask, SIGUSR1);
  ::sigaction(SIGBUS, &action, nullptr);
}
inline void set_action(void (*function)(int), int flags = 0) {
  struct sigaction action {};
  action.sa_handler = function;
  action.sa_flags = flags;
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace uffd::test
