// SPDX-License-Identifier: MIT
// What was handed over, or left for a successor, and nobody took: closed, never zeroes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <optional>
#include <utility>

#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/event_causes.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/fault_loop.hpp"

namespace uffd {
namespace {

fault_handler_options for_a_successor() {
  auto options = test::one_thread();
  options.on_stop = stop_policy::hand_over;
  return options;
}

TEST(abandoned, by_a_handler_that_ends_unasked_is_closed) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  std::optional<fault_handler> handler(std::in_place, test::fill_by_offset(), for_a_successor());
  const auto region = handler->serve(memory.range());
  EXPECT_EQ(test::look(memory.at(0)), test::shows(1));
  handler.reset();
  EXPECT_EQ(test::look(memory.at(0)), test::still_shows(1));
  EXPECT_EQ(test::look(memory.at(1)), test::closed_page());
}

TEST(abandoned, by_whoever_was_given_it_is_closed) {
  test::serving served(2, test::fill_by_offset());
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  { const auto dropped = served.handler().hand_over(); }
  EXPECT_EQ(test::look(served.at(0)), test::still_shows(1));
  EXPECT_EQ(test::look(served.at(1)), test::closed_page());
}

TEST(abandoned, by_assignment_of_another_is_closed) {
  test::serving former(1, test::fill_by_offset());
  test::serving latter(1, test::fill_by_offset());
  auto given = former.handler().hand_over();
  given = latter.handler().hand_over();
  EXPECT_EQ(test::look(former.at(0)), test::closed_page());
  const fault_handler successor(std::move(given), test::fill_by_offset());
  EXPECT_EQ(test::look(latter.at(0)), test::shows(1));
}

TEST(abandoned, with_many_threads_waiting_wakes_them_all) {
  constexpr std::size_t pages = 128;
  const test::memory memory(test::memory_kind::anonymous, pages);
  std::optional<fault_handler> handler(std::in_place, test::fill_by_offset(), for_a_successor());
  const auto region = handler->serve(memory.range());
  handler->request_stop();
  handler->join();
  std::deque<test::toucher> readers;
  for (std::size_t page = 0; page < pages; ++page) readers.emplace_back(memory.at(page));
  EXPECT_TRUE(readers.back().waits());
  handler.reset();
  for (test::toucher& reader : readers) EXPECT_EQ(reader.saw(), test::closed_page());
}

TEST(abandoned, by_a_fault_loop_is_closed) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  std::optional<fault_loop> loop(std::in_place, test::fill_by_offset(), for_a_successor());
  const auto region = loop->serve(memory.range());
  test::toucher waiting(memory.at(0));
  EXPECT_TRUE(waiting.waits());
  loop.reset();
  EXPECT_EQ(waiting.saw(), test::closed_page());
}

// Whoever moves it waits for somebody to read that: for the end, then.
TEST(abandoned, while_it_is_being_moved_is_closed_where_it_is_then) {
  const test::memory target(test::memory_kind::anonymous, 2);
  test::serving served(
      2, overloaded{test::fill_by_offset(), [](const remap_event&) {}, [](const unmap_event&) {}});
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  std::optional given(served.handler().hand_over());
  test::background mover([&] { test::move_memory(served.memory().range(), target.at(0)); });
  EXPECT_TRUE(mover.waits_for_reader());
  given.reset();
  EXPECT_TRUE(mover.finishes());
  EXPECT_EQ(test::look(target.at(0)), test::still_shows(1));
  EXPECT_EQ(test::look(target.at(1)), test::closed_page());
}

TEST(abandoned, by_a_fault_loop_that_many_threads_wait_for_is_closed) {
  constexpr std::size_t pages = 1200;  // more than wait at once
  const test::memory memory(test::memory_kind::anonymous, pages);
  std::optional<fault_loop> loop(std::in_place,
                                 overloaded{test::fill_by_offset(), [](const remove_event&) {}});
  const auto region = loop->serve(memory.range());
  std::deque<test::toucher> readers;
  for (std::size_t page = 0; page < pages; ++page) readers.emplace_back(memory.at(page));
  EXPECT_TRUE(readers.back().waits());
  loop.reset();
  for (test::toucher& reader : readers) EXPECT_EQ(reader.saw(), test::closed_page());
}

TEST(abandoned, by_a_fault_loop_whose_last_callback_dispatches_is_closed) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  const test::memory other(test::memory_kind::anonymous, 1);
  std::optional<fault_loop> loop;
  fault_loop* running = nullptr;
  bool heard = false;
  loop.emplace(overloaded{test::fill_by_offset(),
                          [&](const remove_event&) {
                            heard = true;
                            running->dispatch();
                          }},
               for_a_successor());
  running = &*loop;
  const auto region = loop->serve(memory.range());
  auto other_region = loop->serve(other.range());
  test::background remover([&] { test::drop(memory.page(0)); });
  EXPECT_TRUE(remover.waits_for_reader());
  other_region = {};  // reads the event, which waits for its callback
  loop.reset();
  EXPECT_TRUE(remover.finishes());
  EXPECT_TRUE(heard);
  EXPECT_EQ(test::look(memory.at(1)), test::closed_page());
}

TEST(handed_over, cannot_be_a_second_time) {
  test::serving served(1, test::fill_by_offset());
  const auto given = served.handler().hand_over();
  EXPECT_EQ(test::thrown([&] { static_cast<void>(served.handler().hand_over()); }), ECANCELED);
}

TEST(handed_over, whose_region_ended_after_the_stop_is_still_the_successors) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  fault_handler handler(test::fill_by_offset(), for_a_successor());
  {
    const auto region = handler.serve(memory.range());
    handler.request_stop();
    handler.join();
  }
  const fault_handler successor(handler.hand_over(), test::fill_by_offset());
  EXPECT_EQ(test::look(memory.at(0)), test::shows(1));
}

// As another process would, which is told neither features nor what the kernel offers.
TEST(handed_over, that_is_released_can_be_served_by_its_descriptor) {
  // All that can be done to the memory of a descriptor, whosever it is.
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  const test::memory memory(test::memory_kind::anonymous, 3);
  fault_handler handler(test::fill_by_offset(), for_a_successor());
  const auto region = handler.serve(memory.range());
  auto given = handler.hand_over();
  unique_fd descriptor(::dup(given.on.fd()));
  given.release();
  { const auto dropped = std::move(given); }
  test::toucher waiting(memory.at(0));
  EXPECT_TRUE(waiting.waits());
  {
    auto options = test::one_thread();
    options.forks = handler.on().features().has(feature::event_fork) ? fork_policy::follow
                                                                     : fork_policy::not_inherited;
    fault_handler successor(handle::adopt(std::move(descriptor), handler.on().features()),
                            test::fill_by_offset(), options);
    successor.serve_registered(
        {.range = memory.range(), .page_size = page_size(), .modes = register_mode::missing});
    EXPECT_EQ(waiting.saw(), test::shows(1));
    EXPECT_EQ(test::look(memory.at(1)), test::shows(2));
  }
  EXPECT_EQ(test::look(memory.at(2)), test::closed_page());
}

// As whoever received it from another process, which keeps the handle.
handed_over lent(handed_over given) {
  given.lent = true;
  return given;
}

TEST(lent, and_dropped_is_not_closed) {
  test::serving served(2, test::fill_by_offset());
  const auto given = served.handler().hand_over();
  {
    handed_over copy(handle::adopt(unique_fd(::dup(given.on.fd())), given.on.features()),
                     given.regions);
    const auto dropped = lent(std::move(copy));
  }
  test::toucher waiting(served.at(0));
  EXPECT_TRUE(waiting.waits());
  EXPECT_FALSE(given.on.copy(served.at(0), test::filled(page_size(), 7)).number);
  EXPECT_EQ(waiting.saw(), test::shows(7));
}

TEST(lent, to_a_handler_that_nobody_takes_over_from_waits_for_its_owner) {
  test::serving served(2, test::fill_by_offset());
  auto owner = served.handler().hand_over();
  {
    handed_over copy(handle::adopt(unique_fd(::dup(owner.on.fd())), owner.on.features()),
                     owner.regions);
    const fault_handler borrower(lent(std::move(copy)), test::fill_by_offset(), for_a_successor());
    EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(1));
  }
  test::toucher waiting(served.at(1));
  EXPECT_TRUE(waiting.waits());
  const fault_handler successor(std::move(owner), test::fill_by_offset());
  EXPECT_EQ(waiting.saw(), test::shows(2));
}

TEST(lent, to_a_handler_that_closes_what_it_leaves_is_closed) {
  test::serving served(1, test::fill_by_offset());
  { const fault_handler borrower(lent(served.handler().hand_over()), test::fill_by_offset()); }
  EXPECT_EQ(test::look(served.at(0)), test::closed_page());
}

TEST(handed_over, pieces_of_a_range_keep_their_offsets) {
  const test::memory memory(test::memory_kind::anonymous, 8);
  fault_handler handler(overloaded{test::fill_by_offset(), [](const unmap_event&) {}},
                        test::one_thread());
  const auto region = handler.serve(memory.range());
  test::unmap(memory.page(2, 3));
  const fault_handler successor(handler.hand_over(),
                                overloaded{test::fill_by_offset(), [](const unmap_event&) {}},
                                test::one_thread());
  EXPECT_EQ(test::look(memory.at(1)), test::shows(2));
  EXPECT_EQ(test::look(memory.at(7)), test::shows(8));
}

}  // namespace
}  // namespace uffd
