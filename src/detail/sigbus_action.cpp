// SPDX-License-Identifier: MIT
#include "sigbus_action.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <utility>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

using action = struct sigaction;
using entry_point = void (*)(int, siginfo_t*, void*);

// An action that was there before ours. Never freed, for a signal may come at any time; and there
// are only as many as were ever seen.
struct former_action {
  action what;
  const former_action* next;
};

// Ours, as it was installed over one action. Over another it gets an entry of its own: that may
// lead back to the first for ever.
struct layer {
  std::atomic<const former_action*> former{nullptr};
  std::atomic<bool> is_installed{false};
  std::atomic<bool> is_spent{false};  // its former was for one signal (SA_RESETHAND), and had it
};

constinit std::array<layer, 8> layers{};
constinit std::atomic<signal_server> serving{nullptr};
constinit std::atomic<const former_action*> all_former{nullptr};

// Whether the access that raised it would raise it again.
bool is_raised_by_access(const siginfo_t& info) noexcept {
  return info.si_code == BUS_ADRALN || info.si_code == BUS_ADRERR || info.si_code == BUS_OBJERR ||
         info.si_code == BUS_MCEERR_AR || info.si_code == SI_KERNEL;
}

// The default action, as if ours had never been: with the address, and the registers of the access.
// Blocked until our return brings both back; to let the access raise it again would not do, for its
// page may be there by now.
void die_of(const siginfo_t& info) noexcept {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGBUS);
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  action by_default{};
  by_default.sa_handler = SIG_DFL;
  ::sigaction(SIGBUS, &by_default, nullptr);
  siginfo_t again = info;
  ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), SIGBUS, &again);
}

// With the mask that the kernel would have set.
void call(const action& handler, siginfo_t* info, void* context) noexcept {
  sigset_t blocked = handler.sa_mask;
  if ((handler.sa_flags & SA_NODEFER) == 0) ::sigaddset(&blocked, SIGBUS);
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  if ((handler.sa_flags & SA_SIGINFO) != 0)
    handler.sa_sigaction(SIGBUS, info, context);
  else
    handler.sa_handler(SIGBUS);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void pass_on(layer& from, siginfo_t* info, void* context) noexcept {
  const action& former = from.former.load(std::memory_order_acquire)->what;
  const bool is_once = (former.sa_flags & static_cast<int>(SA_RESETHAND)) != 0;
  const bool is_function = (former.sa_flags & SA_SIGINFO) != 0 ||
                           (former.sa_handler != SIG_DFL &&
                            former.sa_handler != SIG_IGN);  // NOLINT: the kernel's values
  if (is_function && !(is_once && from.is_spent.exchange(true))) return call(former, info, context);
  const bool is_ignored = !is_function && former.sa_handler == SIG_IGN;  // NOLINT
  // No process can ignore what its own access raised.
  if (is_ignored && !is_raised_by_access(*info)) return;
  die_of(*info);
}

template <std::size_t Number>
void enter(int /*SIGBUS*/, siginfo_t* info, void* context) {
  const int kept = errno;
  if (!serving.load(std::memory_order_acquire)(*info, *static_cast<ucontext_t*>(context)))
    pass_on(layers[Number], info, context);
  errno = kept;
}

template <std::size_t... Numbers>
constexpr std::array<entry_point, sizeof...(Numbers)> make_entries(
    std::index_sequence<Numbers...> /*all*/) {
  return {&enter<Numbers>...};
}
constexpr auto entries = make_entries(std::make_index_sequence<layers.size()>());

action current_action() {
  action now{};
  if (::sigaction(SIGBUS, nullptr, &now) != 0) throw_errno(errno, "sigaction(SIGBUS)");
  return now;
}

std::optional<std::size_t> layer_of(const action& installed) noexcept {
  if ((installed.sa_flags & SA_SIGINFO) == 0) return std::nullopt;
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (installed.sa_sigaction == entries[i]) return i;
  return std::nullopt;
}

bool is_same(const action& one, const action& other) noexcept {
  if (one.sa_flags != other.sa_flags) return false;
  for (int number = 1; number < NSIG; ++number)
    if (::sigismember(&one.sa_mask, number) != ::sigismember(&other.sa_mask, number)) return false;
  return (one.sa_flags & SA_SIGINFO) != 0 ? one.sa_sigaction == other.sa_sigaction
                                          : one.sa_handler == other.sa_handler;
}

const former_action* remember(const action& former) {
  for (const auto* known = all_former.load(); known != nullptr; known = known->next)
    if (is_same(known->what, former)) return known;
  const auto* made = new former_action{former, all_former.load()};
  all_former.store(made);
  return made;
}

// One that leads to the same action serves again: whoever puts an action back may do so for ever.
std::size_t layer_over(const former_action* former) {
  for (std::size_t i = 0; i < layers.size(); ++i)
    if (!layers[i].is_installed.load() || layers[i].former.load() == former) return i;
  throw_errno(EBUSY, "sigbus handler: too many actions for SIGBUS were installed over its own");
}

// As few system calls are interrupted as before.
int flags_beside(const action& former) noexcept {
  const bool is_ignored =
      (former.sa_flags & SA_SIGINFO) == 0 && former.sa_handler == SIG_IGN;  // NOLINT
  const int restarts = is_ignored ? SA_RESTART : former.sa_flags & SA_RESTART;
  return SA_SIGINFO | SA_ONSTACK | SA_NODEFER | restarts;
}

// Answers what it replaced.
action put_over(const action& former) {
  const auto* const known = remember(former);
  const auto number = layer_over(known);
  layer& added = layers[number];
  added.is_spent.store(false);
  added.former.store(known, std::memory_order_release);
  action ours{};
  ours.sa_sigaction = entries[number];
  ours.sa_flags = flags_beside(former);
  sigemptyset(&ours.sa_mask);
  action replaced{};
  if (::sigaction(SIGBUS, &ours, &replaced) != 0) throw_errno(errno, "sigaction(SIGBUS)");
  added.is_installed.store(true);
  return replaced;
}

}  // namespace

void install_sigbus_action(signal_server server) {
  serving.store(server, std::memory_order_release);
  const action former = current_action();
  if (layer_of(former)) return;  // a forked child has its parent's
  const action replaced = put_over(former);
  if (!is_same(replaced, former)) put_over(replaced);  // it changed meanwhile
}

}  // namespace uffd::detail
