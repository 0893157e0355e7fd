// SPDX-License-Identifier: MIT
// What touching memory shows: a byte, SIGBUS or SIGSEGV. All accesses of tests go through here, for
// the compiler may drop those it finds useless.
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ostream>

namespace uffd::test {

// The byte that an access read or wrote, or the signal it took.
struct sight {
  int signal = 0;
  int byte = 0;

  friend bool operator==(sight, sight) = default;
  friend std::ostream& operator<<(std::ostream& out, sight seen) {
    if (seen.signal != 0) return out << "SIG" << ::sigabbrev_np(seen.signal);
    return out << "byte " << seen.byte;
  }
};

inline constexpr sight shows(int byte) { return {0, byte}; }
inline constexpr sight takes_sigbus{SIGBUS, 0};
inline constexpr sight takes_sigsegv{SIGSEGV, 0};

namespace detail {

inline thread_local sigjmp_buf* landing = nullptr;
inline thread_local volatile int caught = 0;
inline struct sigaction former_bus, former_segv;

// Signals that no look() waits for go to the handler that was there, a sanitizer's perhaps.
inline void catch_signal(int number, siginfo_t* info, void* context) {
  if (landing != nullptr) {
    caught = number;
    siglongjmp(*landing, 1);
  }
  const auto& former = number == SIGBUS ? former_bus : former_segv;
  if ((former.sa_flags & SA_SIGINFO) != 0) return former.sa_sigaction(number, info, context);
  ::signal(number, SIG_DFL);
}

inline bool install_handlers() {
  struct sigaction action {};
  action.sa_sigaction = catch_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  return ::sigaction(SIGBUS, &action, &former_bus) == 0 &&
         ::sigaction(SIGSEGV, &action, &former_segv) == 0;
}

// Before main(), so that handlers which tests install come before these.
inline const bool handlers_installed = install_handlers();

template <class Access>
[[gnu::noinline]] sight attempt(const Access& access) {
  sigjmp_buf here;
  if (sigsetjmp(here, 1) != 0) {
    landing = nullptr;
    return {caught, 0};
  }
  landing = &here;
  // The compiler knows of no signal: it would see a pointer that nobody reads.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const int byte = access();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  landing = nullptr;
  return {0, byte};
}

}  // namespace detail

// The byte at `address`; takes signals like any access.
inline std::byte read_byte(std::uintptr_t address) {
  return *reinterpret_cast<const volatile std::byte*>(address);
}
inline void write_byte(std::uintptr_t address, int value) {
  *reinterpret_cast<volatile std::byte*>(address) = static_cast<std::byte>(value);
}

// Reads in this thread. Waits where memory is served and nobody answers: see toucher.
inline sight look(std::uintptr_t address) {
  return detail::attempt([=] { return std::to_integer<int>(read_byte(address)); });
}
// Writes in this thread.
inline sight try_write(std::uintptr_t address, int value) {
  return detail::attempt([=] {
    write_byte(address, value);
    return value;
  });
}

}  // namespace uffd::test
