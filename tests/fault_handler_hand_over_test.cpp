// SPDX-License-Identifier: MIT
// Handing a running handler's work to a successor: children, events and faults under way.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/event_causes.hpp"
#include "support/forked.hpp"
#include "support/heard.hpp"
#include "support/held_child.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

// Whose page it is: the predecessor fills with 1, the successor with 2.
auto fill_with(int value) {
  return [value](fault& raised) { return test::fill(raised, value); };
}

fault_handler_options some_threads(unsigned threads) {
  fault_handler_options options;
  options.threads = threads;
  return options;
}

class hand_over : public testing::TestWithParam<unsigned> {
 protected:
  fault_handler_options options() const { return some_threads(GetParam()); }
  template <class H>
  void start(H&& callbacks) {
    handler_.emplace(std::forward<H>(callbacks), options());
    region_ = handler_->serve(memory_.range());
  }
  template <class H>
  void succeed(H&& callbacks) {
    successor_.emplace(handler_->hand_over(), std::forward<H>(callbacks), options());
  }

  const test::memory memory_{test::memory_kind::anonymous, 8};
  std::optional<fault_handler> handler_;
  served_region region_;
  std::optional<fault_handler> successor_;
};
INSTANTIATE_TEST_SUITE_P(threads, hand_over, testing::Values(1U, 3U));

TEST_P(hand_over, gives_forked_children_to_the_successor) {
  UFFDPP_REQUIRE(test::followed_forks());
  start(fill_with(1));
  const auto second_page = [&] { return std::to_integer<int>(test::read_byte(memory_.at(1))); };
  test::held_child first(second_page);
  test::held_child second(second_page);
  auto handed = handler_->hand_over();
  ASSERT_EQ(handed.children.size(), 2U);
  for (const auto& child : handed.children) {
    ASSERT_EQ(child.regions.size(), 1U);
    EXPECT_EQ(child.regions.front().range, memory_.range());
    EXPECT_TRUE(child.on.foreign());
  }
  test::heard<std::size_t> spaces;
  fault_handler successor(
      std::move(handed),
      [&](fault& raised) {
        spaces.add(raised.space());
        return test::fill(raised, 2);
      },
      options());
  EXPECT_EQ(successor.statistics().children, 2U);
  first.let_go();
  EXPECT_EQ(first.process().wait(), test::exits_with(2));
  second.let_go();
  EXPECT_EQ(second.process().wait(), test::exits_with(2));
  auto numbers = spaces.all();
  std::sort(numbers.begin(), numbers.end());
  EXPECT_EQ(numbers, (std::vector<std::size_t>{1, 2}));
  EXPECT_TRUE(test::eventually([&] { return successor.statistics().children == 0; }));
  EXPECT_FALSE(test::error_after_stop(successor));
}

TEST_P(hand_over, gives_a_childs_fault_that_was_read_to_the_successor) {
  UFFDPP_REQUIRE(test::followed_forks());
  test::signal waits;
  start([&](fault& raised) {
    if (raised.space() == 0) return test::fill(raised, 1);
    waits.set();
    return resolution::retry();
  });
  test::forked child([&] { return std::to_integer<int>(test::read_byte(memory_.at(1))); });
  ASSERT_TRUE(waits.comes());
  succeed(fill_with(2));
  EXPECT_EQ(child.wait(), test::exits_with(2));
}

TEST_P(hand_over, lets_a_child_that_faults_in_between_wait_for_the_successor) {
  UFFDPP_REQUIRE(test::followed_forks());
  start(fill_with(1));
  test::held_child child([&] { return std::to_integer<int>(test::read_byte(memory_.at(1))); });
  auto handed = handler_->hand_over();
  child.let_go();
  test::toucher reader(memory_.at(1));
  EXPECT_TRUE(reader.waits());
  successor_.emplace(std::move(handed), fill_with(2), options());
  EXPECT_EQ(child.process().wait(), test::exits_with(2));
  EXPECT_EQ(reader.saw(), test::shows(2));
}

TEST_P(hand_over, waits_for_a_callback_that_runs_and_keeps_what_it_installed) {
  test::signal started;
  test::signal go_on;
  start([&](fault& raised) {
    started.set();
    EXPECT_TRUE(go_on.comes());
    return test::fill(raised, 1);
  });
  test::toucher reader(memory_.at(0));
  ASSERT_TRUE(started.comes());
  std::optional<handed_over> handed;
  test::background hander([&] { handed.emplace(handler_->hand_over()); });
  EXPECT_TRUE(hander.blocks());
  go_on.set();
  ASSERT_TRUE(hander.finishes());
  EXPECT_EQ(reader.saw(), test::shows(1));
  fault_handler successor(*std::move(handed), fill_with(2), options());
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(2));
}

// While the only worker is inside a callback nobody reads, where no event can come.
TEST(hand_over_of_one_thread, loses_no_fault_that_was_unread) {
  const test::memory memory(test::memory_kind::anonymous, 4);
  test::signal started;
  test::signal go_on;
  fault_handler_options options = test::one_thread();
  options.forks = fork_policy::not_inherited;
  fault_handler handler(
      [&](fault& raised) {
        started.set();
        EXPECT_TRUE(go_on.comes());
        return test::fill_by_offset()(raised);
      },
      options);
  const auto region = handler.serve(memory.range());
  test::toucher first(memory.at(0));
  ASSERT_TRUE(started.comes());
  test::toucher second(memory.at(1));
  test::toucher third(memory.at(2));
  EXPECT_TRUE(third.waits());
  std::optional<handed_over> handed;
  test::background hander([&] { handed.emplace(handler.hand_over()); });
  EXPECT_TRUE(hander.blocks());
  go_on.set();
  ASSERT_TRUE(hander.finishes());
  const fault_handler successor(*std::move(handed), test::fill_by_offset(), options);
  EXPECT_EQ(first.saw(), test::shows(1));
  EXPECT_EQ(second.saw(), test::shows(2));
  EXPECT_EQ(third.saw(), test::shows(3));
}

// The callback of an event lasts; others queue up behind it, and all are done before.
TEST_P(hand_over, follows_events_that_wait_for_their_callbacks) {
  const test::memory target(test::memory_kind::anonymous, 2);
  test::signal started;
  test::signal go_on;
  start(overloaded{fill_with(1),
                   [&](const remove_event&) {
                     started.set();
                     EXPECT_TRUE(go_on.comes());
                   },
                   [](const unmap_event&) {}, [](const remap_event&) {}});
  test::drop(memory_.page(0));
  ASSERT_TRUE(started.comes());
  test::unmap(memory_.page(1));
  test::move_memory(memory_.page(2, 2), target.begin());
  std::optional<handed_over> handed;
  test::background hander([&] { handed.emplace(handler_->hand_over()); });
  EXPECT_TRUE(hander.blocks());
  go_on.set();
  ASSERT_TRUE(hander.finishes());
  std::vector<page_range> ranges;
  for (const auto& region : handed->regions) ranges.push_back(region.range);
  EXPECT_EQ(ranges.size(), 3U);
  for (const auto& expected : {memory_.page(0), memory_.page(4, 4), target.range()})
    EXPECT_NE(std::find(ranges.begin(), ranges.end(), expected), ranges.end())
        << to_string(expected);
  fault_handler successor(*std::move(handed),
                          overloaded{fill_with(2), [](const remove_event&) {},
                                     [](const unmap_event&) {}, [](const remap_event&) {}},
                          options());
  EXPECT_EQ(test::toucher(memory_.at(0)).saw(), test::shows(2));
  EXPECT_EQ(test::toucher(memory_.at(5)).saw(), test::shows(2));
  EXPECT_EQ(test::toucher(target.at(1)).saw(), test::shows(2));
}

// Nobody else could tell it: the successor doesn't see what was read before.
TEST_P(hand_over, tells_callbacks_of_every_event_that_was_read) {
  test::signal started;
  test::signal go_on;
  test::heard<page_range> removed;
  start(overloaded{fill_with(1), [&](const remove_event& seen) {
                     started.set();
                     EXPECT_TRUE(go_on.comes());
                     removed.add(seen.range);
                   }});
  for (const std::size_t page : {0U, 1U, 2U}) {
    test::drop(memory_.page(page));
    ASSERT_TRUE(started.comes());
  }
  test::background hander([&] { static_cast<void>(handler_->hand_over()); });
  EXPECT_TRUE(hander.blocks());
  go_on.set();
  ASSERT_TRUE(hander.finishes());
  EXPECT_EQ(removed.all(),
            (std::vector<page_range>{memory_.page(0), memory_.page(1), memory_.page(2)}));
}

// Between the two nobody reads: who causes an event waits for the successor, which hears of it.
TEST_P(hand_over, leaves_an_unread_event_to_the_successor) {
  const test::memory target(test::memory_kind::anonymous, 1);
  test::heard<page_range> before;
  test::heard<page_range> after;
  const auto callbacks = [](int value, test::heard<page_range>& heard) {
    return overloaded{fill_with(value), [&](const remap_event& seen) { heard.add(seen.from); }};
  };
  start(callbacks(1, before));
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
  auto handed = handler_->hand_over();
  test::background mover([&] { test::move_memory(memory_.page(1), target.begin()); });
  EXPECT_TRUE(mover.waits_for_reader());
  successor_.emplace(std::move(handed), callbacks(2, after), options());
  ASSERT_TRUE(mover.finishes());
  EXPECT_EQ(after.only(), memory_.page(1));
  EXPECT_TRUE(before.all().empty());
  EXPECT_EQ(test::toucher(target.begin()).saw(), test::shows(2)) << "the move is not followed";
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
}

TEST_P(hand_over, may_be_repeated_from_successor_to_successor) {
  start(fill_with(0));
  test::toucher last(memory_.at(7));
  EXPECT_EQ(last.saw(), test::shows(0));
  auto current = *std::move(handler_);
  for (int generation = 1; generation < 6; ++generation) {
    current = fault_handler(current.hand_over(), fill_with(generation), options());
    EXPECT_EQ(test::toucher(memory_.at(static_cast<std::size_t>(generation))).saw(),
              test::shows(generation));
  }
  EXPECT_FALSE(test::error_after_stop(current));
  EXPECT_EQ(test::look(memory_.at(6)), test::closed_page());
}

}  // namespace
}  // namespace uffd
