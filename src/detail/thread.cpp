// SPDX-License-Identifier: MIT
#include "thread.hpp"

#include <sched.h>
#include <signal.h>

#include <string>
#include <utility>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

// Not by its pthread_t, which a thread started after a join may have again.
thread_local const thread* current = nullptr;

class blocked_signals {
 public:
  blocked_signals() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) ::sigdelset(&all, own);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  blocked_signals(const blocked_signals&) = delete;
  blocked_signals& operator=(const blocked_signals&) = delete;
  ~blocked_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

class attributes {
 public:
  attributes() noexcept { ::pthread_attr_init(&value_); }
  attributes(const attributes&) = delete;
  attributes& operator=(const attributes&) = delete;
  ~attributes() { ::pthread_attr_destroy(&value_); }

  int pin(int cpu) noexcept {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    return ::pthread_attr_setaffinity_np(&value_, sizeof set, &set);
  }
  const pthread_attr_t* get() const noexcept { return &value_; }

 private:
  pthread_attr_t value_{};
};

}  // namespace

thread::thread(const char* name, std::optional<int> cpu, std::function<void()> body)
    : body_(std::move(body)) {
  const blocked_signals blocked;
  attributes attributes;
  int number = cpu ? attributes.pin(*cpu) : 0;
  if (number == 0) number = ::pthread_create(&thread_, attributes.get(), &thread::start, this);
  if (number != 0)
    throw_errno(number, std::string("a thread of the fault handler") +
                            (cpu ? " on CPU " + std::to_string(*cpu) : ""));
  ::pthread_setname_np(thread_, name);
}

void* thread::start(void* self) noexcept {
  current = static_cast<thread*>(self);
  static_cast<thread*>(self)->body_();
  return nullptr;
}

bool thread::is_current() const noexcept { return current == this; }

void thread::join() noexcept {
  if (!std::exchange(joined_, true)) ::pthread_join(thread_, nullptr);
}

}  // namespace uffd::detail
