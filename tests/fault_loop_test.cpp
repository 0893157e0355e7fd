// SPDX-License-Identifier: MIT
#include "uffd/fault_loop.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <optional>
#include <stdexcept>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/descriptors.hpp"
#include "support/event_causes.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"

namespace uffd {
namespace {

// What a caller's own event loop does, until `done`.
template <class Done>
bool run(fault_loop& loop, Done done) {
  const auto deadline = std::chrono::steady_clock::now() + test::patience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    if (test::readable(loop.fd(), std::chrono::milliseconds(1))) loop.dispatch();
  }
  return true;
}

bool is_over(test::toucher& reader) { return reader.finishes(std::chrono::milliseconds(0)); }

TEST(fault_loop, serves_in_the_callers_own_loop_and_thread) {
  const auto self = ::gettid();
  const auto threads = test::running_threads();
  fault_loop loop([&](fault& raised) {
    EXPECT_EQ(::gettid(), self);
    return test::fill_by_offset()(raised);
  });
  const auto memory = loop.serve(mapping::anonymous(3 * page_size()));
  const auto begin = page_range(memory.bytes()).begin();
  EXPECT_FALSE(test::readable(loop.fd(), test::moment)) << "nothing to do yet";
  {
    test::toucher first(begin);
    test::toucher second(begin + 2 * page_size());
    EXPECT_TRUE(run(loop, [&] { return is_over(first) && is_over(second); }));
    EXPECT_EQ(first.saw(), test::shows(1));
    EXPECT_EQ(second.saw(), test::shows(3));
  }
  EXPECT_TRUE(test::eventually([&] { return test::running_threads() <= threads; }));
}

TEST(fault_loop, dispatch_with_nothing_to_do_returns_at_once) {
  fault_loop loop{test::fill_by_offset()};
  loop.dispatch();
  loop.dispatch();
}

TEST(fault_loop, becomes_readable_when_a_fault_is_due_again) {
  int calls = 0;
  fault_loop loop(
      [&](fault& raised) { return ++calls < 5 ? resolution::retry() : test::fill(raised, 7); });
  const auto memory = loop.serve(mapping::anonymous(page_size()));
  test::toucher reader(page_range(memory.bytes()).begin());
  while (calls < 5) {
    ASSERT_TRUE(test::readable(loop.fd())) << "after " << calls << " calls";
    loop.dispatch();
  }
  EXPECT_EQ(reader.saw(), test::shows(7));
  // The last timer may still ring once.
  loop.dispatch();
  EXPECT_FALSE(test::readable(loop.fd(), test::moment));
}

// While an event is unread the kernel refuses to install; this is the only reader.
TEST(fault_loop, tries_again_what_an_unread_event_kept_from_being_installed) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  std::optional<test::background> remover;
  int calls = 0;
  int removals = 0;
  resolution::state first_answer = resolution::state::deferred;
  fault_loop loop(overloaded{[&](fault& raised) {
                               if (++calls == 1) {
                                 remover.emplace([&] { test::drop(memory.page(1)); });
                                 EXPECT_TRUE(remover->waits_for_reader());
                               }
                               const auto answer = test::fill(raised, 7);
                               if (calls == 1) first_answer = answer.kind();
                               return answer;
                             },
                             [&](const remove_event&) { ++removals; }});
  const auto region = loop.serve(memory.range());
  test::toucher reader(memory.at(0));
  EXPECT_TRUE(run(loop, [&] { return is_over(reader); }));
  EXPECT_EQ(first_answer, resolution::state::retry);
  EXPECT_EQ(reader.saw(), test::shows(7));
  EXPECT_GE(calls, 2);
  EXPECT_EQ(removals, 1);
  EXPECT_TRUE(remover->finishes());
}

TEST(fault_loop, wakes_a_deferred_fault_that_ends_after_such_a_refusal) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  std::optional<deferred_fault> kept;
  int calls = 0;
  fault_loop loop(overloaded{[&](fault& raised) {
                               if (++calls > 1) return test::fill(raised, 7);
                               kept.emplace(raised.defer());
                               return resolution::deferred();
                             },
                             [](const remove_event&) {}});
  const auto region = loop.serve(memory.range());
  test::toucher reader(memory.at(0));
  ASSERT_TRUE(run(loop, [&] { return kept.has_value(); }));
  test::background remover([&] { test::drop(memory.page(1)); });
  ASSERT_TRUE(remover.waits_for_reader());
  EXPECT_EQ(kept->copy(test::filled(page_size(), 1)).kind(), resolution::state::retry);
  kept.reset();
  EXPECT_TRUE(run(loop, [&] { return is_over(reader); }));
  EXPECT_EQ(reader.saw(), test::shows(7)) << "it failed closed instead of coming again";
  EXPECT_NO_THROW(loop.rethrow_error());
}

TEST(fault_loop, follows_children) {
  UFFDPP_REQUIRE(test::followed_forks());
  std::size_t seen_space = 0;
  fault_loop loop([&](fault& raised) {
    if (raised.space() != 0) seen_space = raised.space();
    return test::fill_by_offset()(raised);
  });
  ASSERT_TRUE(loop.on().features().has(feature::event_fork));
  const auto memory = loop.serve(mapping::anonymous(2 * page_size()));
  const auto begin = page_range(memory.bytes()).begin();
  test::ending end{};
  {
    test::background parent([&] {
      end =
          test::in_child([&] { return test::look(begin + page_size()) == test::shows(2) ? 0 : 1; });
    });
    EXPECT_TRUE(run(loop, [&] { return parent.finishes(std::chrono::milliseconds(0)); }));
  }
  EXPECT_EQ(end, test::exits_with(0));
  EXPECT_EQ(seen_space, 1U);
  EXPECT_TRUE(run(loop, [&] { return loop.statistics().children == 0; })) << "it is remembered";
}

TEST(fault_loop, in_a_forked_child_takes_none_of_the_parents_faults) {
  fault_loop loop(test::fill_by_offset(), {.forks = fork_policy::not_inherited});
  const test::memory memory(test::memory_kind::anonymous, 1);
  const auto region = loop.serve(memory.range());
  test::toucher reader(memory.begin());
  ASSERT_TRUE(test::readable(loop.fd()));
  EXPECT_EQ(test::in_child([&] { loop.dispatch(); }), test::exits_with(0));
  loop.dispatch();
  EXPECT_EQ(reader.saw(), test::shows(1));
}

// Whether anybody could wait for an event to be read.
class fault_loop_end : public testing::TestWithParam<fork_policy> {
 protected:
  std::optional<fault_loop> loop_;
  int served_ = 0;

  void start(stop_policy on_stop) {
    loop_.emplace(
        [this](fault& raised) {
          ++served_;
          return test::fill_by_offset{}(raised);
        },
        fault_handler_options{.on_stop = on_stop, .forks = GetParam()});
  }
};

TEST_P(fault_loop_end, leaves_missing_pages_inaccessible) {
  const test::memory memory(test::memory_kind::anonymous, 3);
  start(stop_policy::inaccessible);
  const auto region = loop_->serve(memory.range());
  test::toucher first(memory.at(0));
  ASSERT_TRUE(run(*loop_, [&] { return is_over(first); }));
  test::toucher waiting(memory.at(1));
  EXPECT_TRUE(waiting.waits());
  loop_.reset();
  EXPECT_EQ(waiting.saw(), test::closed_page());
  EXPECT_EQ(test::look(memory.at(2)), test::closed_page());
  EXPECT_EQ(test::look(memory.at(0)), test::still_shows(1));
  EXPECT_EQ(served_, 1);
}

TEST_P(fault_loop_end, leaves_zeroes_if_asked_to) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  start(stop_policy::leave_zero);
  const auto region = loop_->serve(memory.range());
  test::toucher waiting(memory.at(0));
  EXPECT_TRUE(waiting.waits());
  loop_.reset();
  EXPECT_EQ(waiting.saw(), test::shows(0));
  EXPECT_EQ(served_, 0);
}

INSTANTIATE_TEST_SUITE_P(forks, fault_loop_end,
                         testing::Values(fork_policy::follow, fork_policy::not_inherited),
                         [](const auto& test) {
                           return test.param == fork_policy::follow ? "followed" : "not_inherited";
                         });

// Somebody waits in madvise for its event to be read: the end reads it.
TEST(fault_loop, ends_while_an_event_is_unread_without_harm_to_present_pages) {
  const test::memory memory(test::memory_kind::anonymous, 3);
  std::optional<fault_loop> loop(std::in_place,
                                 overloaded{test::fill_by_offset{}, [](const remove_event&) {}});
  const auto region = loop->serve(memory.range());
  test::toucher first(memory.at(0));
  ASSERT_TRUE(run(*loop, [&] { return is_over(first); }));
  test::background remover([&] { test::drop(memory.page(1)); });
  ASSERT_TRUE(remover.waits_for_reader());
  loop.reset();
  EXPECT_TRUE(remover.finishes());
  EXPECT_EQ(test::look(memory.at(0)), test::still_shows(1));
  EXPECT_NE(test::look(memory.at(2)), test::shows(0));
}

TEST(fault_loop, dispatched_by_its_own_callback_does_nothing_there) {
  int depth = 0;
  int deepest = 0;
  std::optional<fault_loop> loop(std::in_place, [&](fault& raised) {
    deepest = std::max(deepest, ++depth);
    loop->dispatch();
    --depth;
    return test::fill(raised, 7);
  });
  const test::memory memory(test::memory_kind::anonymous, 4);
  const auto region = loop->serve(memory.range());
  std::deque<test::toucher> readers;
  for (std::size_t page = 0; page < 4; ++page) readers.emplace_back(memory.at(page));
  for (test::toucher& reader : readers) EXPECT_TRUE(reader.waits());
  for (test::toucher& reader : readers)
    EXPECT_TRUE(run(*loop, [&] { return is_over(reader); })) << "a fault was lost";
  EXPECT_EQ(deepest, 1);
}

TEST(fault_loop, rethrows_an_error_once) {
  fault_loop loop([](fault&) -> resolution { throw std::runtime_error("no"); });
  const auto memory = loop.serve(mapping::anonymous(page_size()));
  test::toucher reader(page_range(memory.bytes()).begin());
  EXPECT_TRUE(run(loop, [&] { return is_over(reader); }));
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_THROW(loop.rethrow_error(), std::runtime_error);
  EXPECT_NO_THROW(loop.rethrow_error());
}

TEST(fault_loop, counts_if_asked_to) {
  fault_loop loop(test::fill_by_offset{}, fault_handler_options{.statistics = true});
  const auto memory = loop.serve(mapping::anonymous(page_size()));
  test::toucher reader(page_range(memory.bytes()).begin());
  EXPECT_TRUE(run(loop, [&] { return is_over(reader); }));
  EXPECT_EQ(loop.statistics().missing, 1U);
  EXPECT_EQ(loop.statistics().resolved, 1U);
}

TEST(fault_loop, goes_on_after_it_was_moved) {
  fault_loop first{test::fill_by_offset{}};
  const auto memory = first.serve(mapping::anonymous(page_size()));
  fault_loop second(std::move(first));
  test::toucher reader(page_range(memory.bytes()).begin());
  EXPECT_TRUE(run(second, [&] { return is_over(reader); }));
  EXPECT_EQ(reader.saw(), test::shows(1));
}

TEST(fault_loop, refuses_a_handle_as_fault_handler_does) {
  auto moved = handle::open();
  const auto taken = std::move(moved);
  EXPECT_EQ(test::thrown([&] { fault_loop(std::move(moved), test::fill_by_offset{}); }), EBADF);
  EXPECT_EQ(test::thrown([] {
              fault_loop(handle::open({.required = feature::event_remove}), test::fill_by_offset{});
            }),
            EINVAL);
}

TEST(fault_loop, leaves_no_descriptor_behind) {
  static_cast<void>(test::this_machine());
  const auto descriptors = test::open_descriptors();
  for (int round = 0; round < 50; ++round) {
    fault_loop loop{test::fill_by_offset{}};
    const auto memory = loop.serve(mapping::anonymous(page_size()));
  }
  EXPECT_EQ(test::open_descriptors(), descriptors);
}

}  // namespace
}  // namespace uffd
