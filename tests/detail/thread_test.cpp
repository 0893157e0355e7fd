// SPDX-License-Identifier: MIT
#include "detail/thread.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <optional>
#include <thread>

#include "support/awaited.hpp"
#include "support/operations.hpp"

namespace uffd::detail {
namespace {

TEST(thread, runs_its_body_and_is_joined) {
  bool ran = false;
  thread one("uffd-test", std::nullopt, [&] { ran = true; });
  one.join();
  EXPECT_TRUE(ran);
  one.join();
}

TEST(thread, has_its_name) {
  test::signal over;
  thread one("uffd-test", std::nullopt, [&] { EXPECT_TRUE(over.comes()); });
  EXPECT_TRUE(test::eventually([] { return test::running_threads("uffd-test") == 1; }));
  over.set();
  one.join();
}

TEST(thread, blocks_signals_but_those_of_its_own_faults) {
  sigset_t mask{};
  thread one("uffd-test", std::nullopt, [&] { ::pthread_sigmask(SIG_SETMASK, nullptr, &mask); });
  one.join();
  for (const int blocked : {SIGINT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1, SIGPIPE})
    EXPECT_EQ(::sigismember(&mask, blocked), 1) << blocked;
  for (const int open : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
    EXPECT_EQ(::sigismember(&mask, open), 0) << open;
}

TEST(thread, leaves_its_makers_signals_as_they_were) {
  sigset_t before;
  sigset_t after;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  thread one("uffd-test", std::nullopt, [] {});
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  one.join();
  for (int number = 1; number < SIGRTMIN; ++number)
    EXPECT_EQ(::sigismember(&before, number), ::sigismember(&after, number)) << number;
}

TEST(thread, runs_on_its_cpu_alone) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int cpu = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) ++cpu;
  cpu_set_t mine;
  CPU_ZERO(&mine);
  thread one("uffd-test", cpu, [&] { ::sched_getaffinity(0, sizeof mine, &mine); });
  one.join();
  EXPECT_EQ(CPU_COUNT(&mine), 1);
  EXPECT_TRUE(CPU_ISSET(static_cast<std::size_t>(cpu), &mine));
}

TEST(thread, on_a_cpu_that_does_not_exist_is_refused) {
  for (const int cpu : {CPU_SETSIZE - 1, CPU_SETSIZE, -1, 1 << 30})
    EXPECT_EQ(test::thrown([&] { thread("uffd-test", cpu, [] {}); }), EINVAL) << cpu;
}

TEST(thread, knows_whether_it_is_the_current_one) {
  std::optional<bool> inside;
  const thread* self = nullptr;
  test::signal made;
  thread one("uffd-test", std::nullopt, [&] {
    EXPECT_TRUE(made.comes());
    inside = self->is_current();
  });
  self = &one;
  made.set();
  EXPECT_FALSE(one.is_current());
  one.join();
  EXPECT_EQ(inside, true);
}

// The system may give a joined thread's identity to the next.
TEST(thread, that_was_joined_is_never_the_current_one) {
  thread one("uffd-test", std::nullopt, [] {});
  one.join();
  bool current = true;
  std::thread([&] { current = one.is_current(); }).join();
  EXPECT_FALSE(current);
}

}  // namespace
}  // namespace uffd::detail
