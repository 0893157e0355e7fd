// SPDX-License-Identifier: MIT
// A handle used in a forked child: it would write into the parent's memory, so everything is
// refused.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

// 0 if every operation answers EOWNERDEAD, else which one didn't.
int refused_operations(const handle& on, page_range range) {
  int index = 0;
  for (const auto& [name, result] : test::every_operation(on, range)) {
    ++index;
    if (result.number != EOWNERDEAD || result.bytes != 0) return index;
  }
  return 0;
}

TEST(handle_in_a_forked_child, answers_EOWNERDEAD_and_leaves_the_parents_memory_alone) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  const auto on = handle::open();
  on.register_range(memory.range(), register_mode::missing);
  EXPECT_EQ(test::in_child([&] { return refused_operations(on, memory.range()); }),
            test::exits_with(0));
  // Still registered and still missing: what copy() answers tells.
  ASSERT_TRUE(on.copy(memory.begin(), test::filled(memory.size(), 7)));
  EXPECT_EQ(test::look(memory.begin()), test::shows(7));
}

TEST(handle_in_a_forked_child, has_no_descriptor) {
  const auto on = handle::open();
  EXPECT_EQ(test::in_child([&] { return on.fd() == -1 ? 0 : 1; }), test::exits_with(0));
  EXPECT_TRUE(test::is_open(on.fd()));
}

TEST(handle_in_a_forked_child, throws_EOWNERDEAD_from_set_up) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  auto on = handle::open();
  const auto end = test::in_child([&] {
    if (test::thrown([&] { on.register_range(memory.range(), register_mode::missing); }) !=
        EOWNERDEAD)
      return 1;
    if (test::thrown([&] { region(on, memory.range()); }) != EOWNERDEAD) return 2;
    return test::thrown([&] { static_cast<void>(on.release()); }) == EOWNERDEAD ? 0 : 3;
  });
  EXPECT_EQ(end, test::exits_with(0));
  EXPECT_TRUE(test::is_open(on.fd()));
}

// No pthread_atfork handler runs there.
TEST(handle_in_a_forked_child, is_refused_after_a_raw_clone_too) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  const auto on = handle::open();
  on.register_range(memory.range(), register_mode::missing);
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (pid == 0) ::_exit(refused_operations(on, memory.range()));
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(on.copy(memory.begin(), test::filled(memory.size(), 7)));
}

TEST(handle_in_a_forked_child, is_refused_in_the_grandchild_too) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  const auto on = handle::open();
  const auto end = test::in_child([&] {
    const auto own = handle::open();
    const auto grandchild = test::in_child([&] {
      const auto own_too = handle::open();
      if (refused_operations(on, memory.range()) != 0) return 1;
      return refused_operations(own, memory.range()) == 0 ? 0 : 2;
    });
    return grandchild.code;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(handle_in_a_forked_child, of_the_childs_own_works) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  const auto on = handle::open();
  on.register_range(memory.range(), register_mode::missing);
  const auto end = test::in_child([&] {
    const auto own = handle::open();
    own.register_range(memory.range(), register_mode::missing);
    if (!own.copy(memory.begin(), test::filled(memory.size(), 9))) return 1;
    return test::look(memory.begin()) == test::shows(9) ? 0 : 2;
  });
  EXPECT_EQ(end, test::exits_with(0));
  ASSERT_TRUE(on.copy(memory.begin(), test::filled(memory.size(), 7)));
  EXPECT_EQ(test::look(memory.begin()), test::shows(7));
}

TEST(handle_in_a_forked_child, ends_without_closing_the_parents) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  auto on = handle::open();
  region registered(on, memory.range());
  const int number = on.fd();
  const auto end = test::in_child([&] {
    {
      const auto ended = std::move(registered);
      const auto too = std::move(on);
    }
    return test::is_open(number) ? 1 : 0;
  });
  EXPECT_EQ(end, test::exits_with(0));
  EXPECT_TRUE(on.copy(memory.begin(), test::filled(memory.size(), 7)));
}

}  // namespace
}  // namespace uffd
