// SPDX-License-Identifier: MIT
#include "uffd/detail/process.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <thread>

#include "support/forked.hpp"

namespace uffd::detail {
namespace {

TEST(process_mark, is_of_this_process_in_every_thread) {
  const auto here = process_mark::here();
  EXPECT_FALSE(here.in_child());
  bool in_child = true;
  std::thread([&] { in_child = here.in_child(); }).join();
  EXPECT_FALSE(in_child);
  EXPECT_FALSE(process_mark::here().in_child());
}

TEST(process_mark, of_the_parent_is_told_from_the_childs_own) {
  const auto parents = process_mark::here();
  EXPECT_EQ(test::in_child([&] {
              if (!parents.in_child()) return 1;
              const auto own = process_mark::here();
              if (own.in_child()) return 2;
              return parents.in_child() ? 0 : 3;  // still, although the child has a mark now
            }),
            test::exits_with(0));
  EXPECT_FALSE(parents.in_child());
}

TEST(process_mark, is_told_in_every_generation) {
  const auto first = process_mark::here();
  EXPECT_EQ(test::in_child([&] {
              const auto second = process_mark::here();
              return test::in_child([&] {
                       const auto third = process_mark::here();
                       if (!first.in_child() || !second.in_child()) return 1;
                       return third.in_child() ? 2 : 0;
                     })
                  .code;
            }),
            test::exits_with(0));
}

TEST(process_mark, is_told_in_a_grandchild_whose_parent_made_none) {
  const auto first = process_mark::here();
  EXPECT_EQ(
      test::in_child([&] { return test::in_child([&] { return first.in_child() ? 0 : 1; }).code; }),
      test::exits_with(0));
}

// pthread_atfork handlers don't run for this one.
TEST(process_mark, is_told_after_a_raw_clone) {
  const auto parents = process_mark::here();
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (pid == 0) ::_exit(parents.in_child() ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

// As posix_spawn() does it. Not by vfork(), which ThreadSanitizer makes a fork().
TEST(process_mark, is_no_childs_where_the_memory_is_shared) {
  struct shared_memory {
    process_mark here = process_mark::here();
    bool in_child = true;
  } shared;
  const auto body = [](void* argument) {
    auto& seen = *static_cast<shared_memory*>(argument);
    seen.in_child = seen.here.in_child();
    return 0;
  };
  alignas(16) static std::array<std::byte, 65536> stack;
  const pid_t pid =
      ::clone(body, stack.data() + stack.size(), CLONE_VM | CLONE_VFORK | SIGCHLD, &shared);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  EXPECT_FALSE(shared.in_child);
}

}  // namespace
}  // namespace uffd::detail
