// SPDX-License-Identifier: MIT
// Ends of handlers and ranges while a fork is under way, whose event they must read: the kernel
// sends it when the memory is copied already.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "support/held_child.hpp"
#include "support/memory.hpp"
#include "support/patience.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/handle.hpp"
#include "uffd/message_reader.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {
namespace {

// What a fork under way brings back after a stop ends by the policy of the stop, not of the range.
TEST(forks_against_a_stop, end_by_its_policy) {
  UFFDPP_REQUIRE(test::followed_forks());
  serve_options options;
  options.on_end = close_policy::leave_zero;
  for (int round = 0; round < 60; ++round) {
    const test::memory memory(test::memory_kind::anonymous, 1);
    fault_handler handler{test::fill_by_offset()};
    const auto region = handler.serve(memory.range(), options);
    std::optional<test::held_child> child;
    test::background forker(
        [&] { child.emplace([&] { static_cast<void>(test::look(memory.at(0))); }); });
    if (round % 2 != 0) ::usleep(static_cast<useconds_t>(round) * 5);
    handler.request_stop();
    handler.join();
    ASSERT_TRUE(forker.finishes());
    child->let_go();
    ASSERT_EQ(child->process().wait(), test::dies_of(SIGBUS)) << "round " << round;
  }
}

// The kernel tells one handle after the other of a fork: this one waits for `first`, and the
// handler has not been told.
class fork_that_waits_for_another_handle : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::followed_forks());
    first_.emplace(handle::open({.required = feature::event_fork}));
    first_->register_range(memory_.page(0), register_mode::missing);
    reader_.emplace(*first_);
    handler_.emplace(test::fill_by_offset());
    region_ = handler_->serve(memory_.page(1));
    region_.complete();
  }
  // While a child begins, which ends with 0 if it sees a zero. `end` must wait for it.
  template <class End>
  void expect_wait(End end) {
    test::signal begin;
    test::background ender([&] {
      EXPECT_TRUE(begin.comes());
      end();
    });
    // fork() would hold locks that the end needs.
    test::background forker([&] {
      const auto child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L));
      if (child == 0) ::_exit(test::look(memory_.at(1)) == test::shows(0) ? 0 : 1);
      int status = -1;
      EXPECT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_EQ(status, 0);
    });
    ASSERT_TRUE(test::readable(first_->fd()));
    begin.set();
    EXPECT_FALSE(ender.finishes(test::moment));
    static_cast<void>(reader_->read());
    EXPECT_TRUE(forker.finishes());
  }
  fault_handler& handler() { return *handler_; }
  served_region& region() { return region_; }

 private:
  const test::memory memory_{test::memory_kind::anonymous, 2};
  std::optional<handle> first_;
  std::optional<message_reader> reader_;
  std::optional<fault_handler> handler_;
  served_region region_;
};

// Who keeps the descriptor of a handler that has ended need not read it.
TEST_F(fork_that_waits_for_another_handle, is_waited_for_by_a_stop) {
  const unique_fd kept(::fcntl(handler().on().fd(), F_DUPFD_CLOEXEC, 0));
  expect_wait([&] {
    handler().request_stop();
    handler().join();
  });
}

TEST_F(fork_that_waits_for_another_handle, is_waited_for_by_the_end_of_its_range) {
  expect_wait([&] { region() = {}; });
}

}  // namespace
}  // namespace uffd
