// SPDX-License-Identifier: MIT
// A fork holds the allocator's locks until its event is read: also when every thread of a handler
// that ends waits for them, or for one that does.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/handle.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/region.hpp"

namespace {

// Handlers' threads wait in operator new while it is locked.
std::atomic<bool> is_locked{false};
std::atomic<int> waiting{0};

bool is_of_a_handler() {
  char name[16] = "";
  ::prctl(PR_GET_NAME, name);
  return std::strcmp(name, "uffd-handler") == 0;
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  if (is_locked && is_of_a_handler()) {
    ++waiting;
    while (is_locked) ::usleep(100);
    --waiting;
  }
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t /*size*/) noexcept {
  std::free(memory);
}

namespace uffd {
namespace {

// Like fork(), without the locks of the C library.
void fork_and_wait() {
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L));
  if (child == 0) ::syscall(SYS_exit_group, 0);  // past ThreadSanitizer, which misses threads
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
}

// One thread has closed everything and handles the event of a fork that was under way meanwhile;
// the other one comes to its end and waits for the first.
TEST(the_end_of_a_handler, reads_events_while_its_threads_wait_for_the_allocator) {
  UFFDPP_REQUIRE(test::followed_forks());
  const test::memory memory(test::memory_kind::anonymous, 3);
  // The kernel tells one handle after the other of a fork, this one first.
  const auto first = handle::open({.required = feature::event_fork});
  first.register_range(memory.page(0), register_mode::missing);
  test::signal called;
  test::signal answers;
  fault_handler_options options;
  options.threads = 2;
  fault_handler handler(
      [&](fault& raised) {
        called.set();
        EXPECT_TRUE(answers.comes());
        return test::fill(raised, 1);
      },
      options);
  auto served = handler.serve(memory.page(1));
  // Registered on beyond the stop.
  region other(handler.on(), memory.page(2), register_mode::missing);
  other.complete();

  test::background toucher([&] { static_cast<void>(test::look(memory.at(1))); });
  ASSERT_TRUE(called.comes());
  test::background forker(fork_and_wait);
  ASSERT_TRUE(test::readable(first.fd()));
  handler.request_stop();
  is_locked = true;
  message_reader reader(first);
  static_cast<void>(reader.read());
  ASSERT_TRUE(test::eventually([] { return waiting != 0; }));
  answers.set();
  ASSERT_TRUE(toucher.finishes());
  test::background second_forker(fork_and_wait);
  ASSERT_TRUE(test::readable(first.fd()));
  static_cast<void>(reader.read());
  EXPECT_TRUE(second_forker.finishes());
  is_locked = false;
  handler.join();
}

}  // namespace
}  // namespace uffd
