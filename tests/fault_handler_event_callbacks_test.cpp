// SPDX-License-Identifier: MIT
// What callbacks hear of forks, moves, removals and unmappings, and when.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <optional>
#include <system_error>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/event_causes.hpp"
#include "support/forked.hpp"
#include "support/heard.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

TEST(remove_callback, hears_what_is_removed) {
  test::heard<page_range> removed;
  test::serving served(8, overloaded{test::fill_by_offset(),
                                     [&](const remove_event& seen) { removed.add(seen.range); }});
  EXPECT_EQ(test::look(served.at(2)), test::shows(3));
  test::drop(served.memory().page(2, 3));
  EXPECT_EQ(removed.only(), served.memory().page(2, 3));
  EXPECT_EQ(test::look(served.at(2)), test::shows(3)) << "it is not served again";
}

TEST(remove_callback, runs_before_faults_that_came_after_the_removal) {
  for (const unsigned threads : {1U, 3U}) {
    std::atomic<int> generation{1};
    fault_handler_options options;
    options.threads = threads;
    test::serving served(test::memory_kind::anonymous, 2,
                         overloaded{[&](fault& raised) { return test::fill(raised, generation); },
                                    [&](const remove_event&) { ++generation; }},
                         register_mode::missing, options);
    for (int round = 1; round <= 200; ++round) {
      ASSERT_EQ(test::look(served.at(0)), test::shows(round)) << threads << " threads";
      test::drop(served.memory().page(0));
    }
  }
}

TEST(remove_callback, is_told_the_address_space_if_it_takes_one) {
  test::heard<std::size_t> spaces;
  test::serving served(
      1, overloaded{test::fill_by_offset(),
                    [&](const remove_event&, std::size_t space) { spaces.add(space); }});
  test::drop(served.memory().range());
  EXPECT_EQ(spaces.only(), 0U);
}

TEST(remove_callback, does_not_hear_of_ranges_that_others_serve) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  std::array<test::heard<page_range>, 2> removed;
  const auto client = [&](std::size_t index) {
    return overloaded{test::fill_by_offset(),
                      [&, index](const remove_event& seen) { removed[index].add(seen.range); }};
  };
  fault_handler handler(client(0), test::one_thread());
  const auto first = handler.serve(memory.page(0));
  const auto second = handler.serve(memory.page(1), client(1));
  test::drop(memory.page(1));
  EXPECT_EQ(removed[1].only(), memory.page(1));
  EXPECT_TRUE(removed[0].all().empty());
}

// One thread, and the callback itself waits for the removal to be read.
TEST(remove_callback, may_be_due_to_a_page_fault_callback) {
  std::optional<page_range> other;
  test::heard<page_range> removed;
  test::serving served(2, overloaded{[&](fault& raised) {
                                       test::drop(*other);
                                       return test::fill(raised, 4);
                                     },
                                     [&](const remove_event& seen) { removed.add(seen.range); }});
  other = served.memory().page(1);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(4));
  EXPECT_TRUE(test::eventually([&] { return !removed.all().empty(); }));
  EXPECT_EQ(removed.all().front(), *other);
}

TEST(unmap_callback, hears_what_is_unmapped) {
  test::heard<page_range> unmapped;
  test::serving served(8, overloaded{test::fill_by_offset(),
                                     [&](const unmap_event& seen) { unmapped.add(seen.range); }});
  const auto middle = served.memory().page(3, 2);
  test::unmap(middle);
  EXPECT_EQ(unmapped.only(), middle);
  EXPECT_EQ(test::look(served.at(2)), test::shows(3));
  EXPECT_EQ(test::look(served.at(5)), test::shows(6)) << "offsets behind the gap are wrong";
}

// Memory that is no mapping's own is punched by its file's owner: the kernel says nothing.
TEST(remove_callback, does_not_hear_of_holes_punched_into_the_file) {
  test::heard<page_range> removed;
  test::serving served(test::memory_kind::shared, 2,
                       overloaded{test::fill_by_offset(),
                                  [&](const remove_event& seen) { removed.add(seen.range); }});
  const auto memory = served.memory().page(0, 2);
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  ASSERT_EQ(
      ::fallocate(served.memory().mapping().file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  static_cast<off_t>(memory.size())),
      0);
  EXPECT_EQ(test::look(served.at(0)), test::shows(1)) << "the hole is not served";
  // Events come in order: one of the punch would be heard before this one.
  test::drop(served.memory().page(1));
  EXPECT_EQ(removed.only(), served.memory().page(1));
}

// Callbacks that throw: recorded, and everything goes on.
class throwing : public testing::TestWithParam<unsigned> {
 protected:
  [[noreturn]] static void fail() {
    throw std::system_error(std::make_error_code(std::errc::io_error));
  }
  fault_handler_options options() const {
    fault_handler_options result;
    result.threads = GetParam();
    return result;
  }
  template <class Event>
  auto callbacks() {
    return overloaded{test::fill_by_offset(), [this](const Event&) {
                        ++calls_;
                        fail();
                      }};
  }
  // Pages from `first` on are served still, and join() tells.
  void expect_served_and_reported(test::serving& served, std::size_t first) {
    for (std::size_t page = first; page < 4; ++page)
      EXPECT_EQ(test::toucher(served.at(page)).saw(), test::shows(test::byte_of(page)));
    EXPECT_TRUE(test::eventually([&] { return calls_ >= 1; }));
    EXPECT_EQ(test::error_after_stop(served.handler()), std::errc::io_error);
    EXPECT_NO_THROW(served.handler().rethrow_error()) << "told twice";
  }

  std::atomic<int> calls_{0};
};
INSTANTIATE_TEST_SUITE_P(threads, throwing, testing::Values(1U, 3U));

TEST_P(throwing, remove_callback_is_reported_by_join_and_hangs_nobody) {
  test::serving served(test::memory_kind::anonymous, 4, callbacks<remove_event>(),
                       register_mode::missing, options());
  for (int round = 0; round < 10; ++round) test::drop(served.memory().page(0));
  expect_served_and_reported(served, 0);
}

TEST_P(throwing, unmap_callback_is_reported_by_join_and_hangs_nobody) {
  test::serving served(test::memory_kind::anonymous, 4, callbacks<unmap_event>(),
                       register_mode::missing, options());
  test::unmap(served.memory().page(0));
  test::unmap(served.memory().page(1));
  expect_served_and_reported(served, 2);
}

TEST_P(throwing, remap_callback_is_reported_by_join_and_hangs_nobody) {
  const test::memory target(test::memory_kind::anonymous, 1);
  test::serving served(test::memory_kind::anonymous, 4, callbacks<remap_event>(),
                       register_mode::missing, options());
  test::move_memory_and_keep_place(served.memory().page(0), target.begin());
  EXPECT_EQ(test::toucher(target.begin()).saw(), test::shows(1)) << "the move is not followed";
  expect_served_and_reported(served, 1);
}

TEST_P(throwing, fork_callback_is_reported_by_join_and_the_child_is_served) {
  UFFDPP_REQUIRE(test::followed_forks());
  test::serving served(test::memory_kind::anonymous, 4, callbacks<fork_event>(),
                       register_mode::missing, options());
  for (int round = 0; round < 3; ++round)
    EXPECT_EQ(test::in_child([&] { return std::to_integer<int>(test::read_byte(served.at(1))); }),
              test::exits_with(2));
  EXPECT_EQ(calls_, 3);
  expect_served_and_reported(served, 0);
}

// Each of two workers, inside its callback, waits for an event of its own to be read.
TEST(workers_with_events, never_wait_for_each_other) {
  constexpr std::size_t rounds = 5;
  std::atomic<int> inside{0};
  std::optional<page_range> first;
  fault_handler_options options;
  options.threads = 2;
  test::serving served(test::memory_kind::anonymous, 2 + 2 * rounds,
                       overloaded{[&](fault& raised) {
                                    ++inside;
                                    EXPECT_TRUE(test::eventually([&] { return inside >= 2; }));
                                    test::drop(*first);
                                    return test::fill_by_offset()(raised);
                                  },
                                  [](const remove_event&) {}},
                       register_mode::missing, options);
  first = served.memory().page(0);
  for (std::size_t round = 1; round <= rounds; ++round) {
    inside = 0;
    test::toucher even(served.at(2 * round));
    test::toucher odd(served.at(2 * round + 1));
    ASSERT_EQ(even.saw(), test::shows(test::byte_of(2 * round)));
    ASSERT_EQ(odd.saw(), test::shows(test::byte_of(2 * round + 1)));
  }
}

// The other worker may be inside a callback for as long as it likes: an event's callback needn't
// wait for a fault's.
TEST(workers_with_events, let_a_fault_wait_for_what_an_event_callback_does) {
  test::signal heard;
  std::optional<page_range> other;
  fault_handler_options options;
  options.threads = 2;
  test::serving served(test::memory_kind::anonymous, 2,
                       overloaded{[&](fault& raised) {
                                    if (raised.offset() == 0) {
                                      test::drop(*other);
                                      EXPECT_TRUE(heard.comes());
                                    }
                                    return test::fill_by_offset()(raised);
                                  },
                                  [&](const remove_event&) { heard.set(); }},
                       register_mode::missing, options);
  other = served.memory().page(1);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(1));
}

// And a fault's needn't wait for an event's, once it runs.
TEST(workers_with_events, answer_a_fault_while_an_event_callback_of_a_later_event_runs) {
  test::signal in_fault;
  test::signal in_event;
  test::signal removed;
  test::signal answered;
  fault_handler_options options;
  options.threads = 2;
  test::serving served(test::memory_kind::anonymous, 2,
                       overloaded{[&](fault& raised) {
                                    in_fault.set();
                                    EXPECT_TRUE(removed.comes());
                                    return test::fill_by_offset()(raised);
                                  },
                                  [&](const remove_event&) {
                                    in_event.set();
                                    EXPECT_TRUE(answered.comes());
                                  }},
                       register_mode::missing, options);
  test::toucher reader(served.at(0));
  ASSERT_TRUE(in_fault.comes());
  test::drop(served.memory().page(1));
  ASSERT_TRUE(in_event.comes());
  removed.set();
  EXPECT_EQ(reader.saw(), test::shows(1));
  answered.set();
}

// The old place stays registered, and reads anew what a fault there brings.
TEST(remapped_without_unmapping, memory_is_served_at_both_places) {
  test::heard<remap_event> moved;
  const test::memory target(test::memory_kind::anonymous, 2);
  test::serving served(
      2, overloaded{test::fill_by_offset(), [&](const remap_event& seen) { moved.add(seen); },
                    [](const unmap_event&) {}});
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  test::move_memory_and_keep_place(served.memory().range(), target.begin());
  EXPECT_EQ(test::look(target.at(0)), test::shows(1));
  EXPECT_EQ(test::look(target.at(1)), test::shows(2));
  EXPECT_EQ(test::look(served.at(1)), test::shows(2));
  ASSERT_TRUE(moved.only());
  EXPECT_EQ(moved.only()->to, target.begin());
}

}  // namespace
}  // namespace uffd
