// SPDX-License-Identifier: MIT
// What a forked child may do with its parent's handler, and with the signal.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "support/background.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "uffd/mapping.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

class forked_sigbus_handler : public testing::Test {
 protected:
  forked_sigbus_handler()
      : handler_(std::in_place, async_signal_safe, test::fill_by_offset()),
        region_(handler_->serve(mapping::anonymous(4 * page_size()))),
        begin_(page_range(region_.bytes()).begin()) {
    EXPECT_EQ(test::look(begin_), test::shows(1));
  }

  void parent_is_unaffected() {
    EXPECT_EQ(test::look(begin_ + page_size()), test::shows(2));
    EXPECT_EQ(test::look(begin_), test::shows(1));
    const auto more = handler_->serve(mapping::anonymous(page_size()));
    EXPECT_EQ(test::look(page_range(more.bytes()).begin()), test::shows(1));
  }

  std::optional<sigbus_handler> handler_;
  served_region region_;
  std::uintptr_t begin_;
};

TEST_F(forked_sigbus_handler, shows_the_child_no_zeroes) {
  EXPECT_EQ(test::in_child([&] { test::read_byte(begin_ + 2 * page_size()); }),
            test::dies_of(SIGSEGV));
  EXPECT_EQ(test::in_child([&] { test::read_byte(begin_); }), test::dies_of(SIGSEGV));
  parent_is_unaffected();
}

TEST_F(forked_sigbus_handler, ends_quietly_in_the_child_in_any_order) {
  EXPECT_EQ(test::in_child([&] {
              region_ = {};
              handler_.reset();
            }),
            test::exits_with(0));
  EXPECT_EQ(test::in_child([&] {
              handler_.reset();
              region_ = {};
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

TEST_F(forked_sigbus_handler, refuses_to_serve_in_the_child) {
  EXPECT_EQ(test::in_child([&] {
              const auto memory = mapping::anonymous(page_size());
              const auto refused =
                  test::thrown([&] { auto region = handler_->serve(memory.range()); });
              return refused == EOWNERDEAD ? 0 : 1;
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

TEST_F(forked_sigbus_handler, leaves_the_child_its_signal) {
  // Of the parent's action, which a child of a test resets, as it was when the handler was made.
  const auto die = [] {
    const auto cut = mapping::shared(page_size());
    if (::ftruncate(cut.file(), 0) == 0) test::read_byte(cut.range().begin());
    return 0;
  };
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool seen = test::look(begin_) == test::takes_sigsegv;
    const auto cut = mapping::shared(page_size());
    const bool is_cut = ::ftruncate(cut.file(), 0) == 0;
    ::_exit(seen && is_cut && test::look(cut.range().begin()) == test::takes_sigbus ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(test::in_child(die), test::dies_of(SIGBUS));
  parent_is_unaffected();
}

TEST_F(forked_sigbus_handler, lets_the_child_have_one_of_its_own) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    bool right = false;
    {
      test::serving_in_thread served(2, test::fill_by_offset());
      right = test::look(served.at(1)) == test::shows(2);
      served.end_region();
    }
    const auto cut = mapping::shared(page_size());
    right = right && ::ftruncate(cut.file(), 0) == 0 &&
            test::look(cut.range().begin()) == test::takes_sigbus;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(test::in_child([] {
              test::serving_in_thread served(2, test::fill_by_offset());
              return test::read_byte(served.at(1)) == std::byte{2} ? 0 : 1;
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

// Copied at any moment of what the other threads do.
TEST_F(forked_sigbus_handler, may_be_copied_while_threads_fault) {
  std::atomic<bool> over{false};
  test::background faulting([&] {
    while (!over) {
      test::serving_in_thread served(2, test::fill_by_offset());
      EXPECT_EQ(test::look(served.at(1)), test::shows(2));
    }
  });
  for (int i = 0; i < 30; ++i)
    EXPECT_EQ(test::in_child([] {
                sigbus_handler handler(async_signal_safe, test::fill_by_offset());
                const auto memory = handler.serve(mapping::anonymous(page_size()));
                return test::read_byte(page_range(memory.bytes()).begin()) == std::byte{1} ? 0 : 1;
              }),
              test::exits_with(0));
  over = true;
  EXPECT_TRUE(faulting.finishes());
  parent_is_unaffected();
}

TEST_F(forked_sigbus_handler, keeps_its_buffers_from_the_child) {
  std::uintptr_t buffer = 0;
  test::serving_in_thread served(1, [&](fault& raised) noexcept {
    buffer = reinterpret_cast<std::uintptr_t>(raised.buffer().data());
    return test::fill(raised, 7);
  });
  EXPECT_EQ(test::look(served.at(0)), test::shows(7));
  EXPECT_EQ(test::in_child([&] { test::read_byte(buffer); }), test::dies_of(SIGSEGV));
}

TEST_F(forked_sigbus_handler, may_fork_in_a_callback) {
  int status = -1;
  test::serving_in_thread served(1, [&](fault& raised) noexcept {
    const pid_t child = ::_Fork();
    if (child == 0) ::_exit(3);
    ::waitpid(child, &status, 0);
    return raised.zeropage();
  });
  EXPECT_EQ(test::look(served.at(0)), test::shows(0));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

// Documented: only who owns the memory can keep it from children.
TEST_F(forked_sigbus_handler, can_not_keep_what_was_lent_from_the_child) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  const auto region = handler_->serve(memory.range());
  EXPECT_EQ(test::look(memory.at(0)), test::shows(1));
  EXPECT_EQ(test::in_child([&] {
              const bool as_it_was = test::read_byte(memory.at(0)) == std::byte{1};
              return as_it_was && test::read_byte(memory.at(1)) == std::byte{0} ? 0 : 1;
            }),
            test::exits_with(0));
  EXPECT_EQ(test::look(memory.at(1)), test::shows(2));
}

}  // namespace
}  // namespace uffd
