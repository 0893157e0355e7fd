// SPDX-License-Identifier: MIT
// Our action for SIGBUS among others that come and go. In forked children, for the action is the
// whole process's.
#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <system_error>

#include "support/forked.hpp"
#include "support/refusal.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sigbus_actions.hpp"
#include "support/sight.hpp"
#include "uffd/mapping.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

using test::exits_with;
using test::hear_number;
using test::in_child;
using test::last;
using test::set_action;

resolution refuse(fault&) noexcept { return std::errc::io_error; }

TEST(sigbus_action, hands_on_all_after_the_last_handler) {
  EXPECT_EQ(in_child([] {
              set_action(hear_number);
              std::optional<sigbus_handler> first(std::in_place, async_signal_safe, refuse);
              std::optional<sigbus_handler> second(std::in_place, async_signal_safe, refuse);
              auto region = second->serve(mapping::anonymous(page_size()));
              first.reset();
              second.reset();
              ::raise(SIGBUS);
              return last.signals == 1 ? 0 : 1;
            }),
            exits_with(0));
}

TEST(sigbus_action, comes_back_with_a_handler_where_it_was_taken_away) {
  EXPECT_EQ(in_child([] {
              { const sigbus_handler handler(async_signal_safe, refuse); }
              set_action(hear_number);
              test::serving_in_thread served(1, test::fill_by_offset());
              if (test::read_byte(served.at(0)) != std::byte{1} || last.signals != 0) return 1;
              ::raise(SIGBUS);
              return last.signals == 1 ? 0 : 2;
            }),
            exits_with(0));
}

// Whoever came after us keeps the signal, and may still hand on to us what was never ours.
struct sigaction before_it {};
int handed_on = 0;
void hand_on(int number, siginfo_t* info, void* context) {
  ++handed_on;
  before_it.sa_sigaction(number, info, context);
}
// Actions that block different signals are different ones.
void install_over(int blocked = 0) {
  struct sigaction action {};
  action.sa_sigaction = hand_on;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (blocked != 0) sigaddset(&action.sa_mask, blocked);
  ::sigaction(SIGBUS, &action, &before_it);
}

TEST(sigbus_action, is_found_through_one_that_came_later_and_hands_on) {
  EXPECT_EQ(in_child([] {
              set_action(hear_number);
              {
                test::serving_in_thread served(2, test::fill_by_offset());
                install_over();
                if (test::read_byte(served.at(1)) != std::byte{2} || handed_on != 1) return 1;
                ::raise(SIGBUS);
                if (last.signals != 1) return 2;
              }
              ::raise(SIGBUS);
              return last.signals == 2 && handed_on == 3 ? 0 : 3;
            }),
            exits_with(0));
}

TEST(sigbus_action, is_found_through_those_that_came_between_our_own) {
  EXPECT_EQ(in_child([] {
              set_action(hear_number);
              {
                test::serving_in_thread served(1, test::fill_by_offset());
                install_over();
              }
              {
                test::serving_in_thread served(1, test::fill_by_offset());
                if (test::read_byte(served.at(0)) != std::byte{1} || handed_on != 0) return 1;
                ::raise(SIGBUS);
                if (last.signals != 1 || handed_on != 1) return 2;
              }
              ::raise(SIGBUS);
              return last.signals == 2 && handed_on == 2 ? 0 : 3;
            }),
            exits_with(0));
}

// As who wants the signal for a while only, or resets all of them.
TEST(sigbus_action, comes_back_however_often_it_was_taken_away) {
  EXPECT_EQ(in_child([] {
              for (int round = 1; round <= 100; ++round) {
                set_action(hear_number);
                {
                  test::serving_in_thread served(1, test::fill_by_offset());
                  if (test::read_byte(served.at(0)) != std::byte{1}) return 1;
                  ::raise(SIGBUS);
                }
                if (last.signals != round) return 2;
                set_action(SIG_DFL);
                test::serving_in_thread served(1, test::fill_by_offset());
                if (test::read_byte(served.at(0)) != std::byte{1}) return 3;
              }
              return 0;
            }),
            exits_with(0));
}

TEST(sigbus_action, gives_one_signal_to_what_is_for_one_each_time_that_it_is_put_back) {
  EXPECT_EQ(in_child([] {
              for (int round = 1; round <= 3; ++round) {
                set_action(hear_number, static_cast<int>(SA_RESETHAND));
                const sigbus_handler handler(async_signal_safe, refuse);
                ::raise(SIGBUS);
                if (last.signals != round) return 1;
              }
              return 0;
            }),
            exits_with(0));
}

TEST(sigbus_action, may_be_left_to_too_many_for_us_to_be_put_before_them) {
  EXPECT_EQ(in_child([] {
              int number = 0;
              for (int i = 0; i < 30 && number == 0; ++i)
                number = test::thrown([&] {
                  const sigbus_handler handler(async_signal_safe, refuse);
                  install_over(SIGRTMIN + i);
                });
              return number == EBUSY ? 0 : 1;
            }),
            exits_with(0));
}

}  // namespace
}  // namespace uffd
