// SPDX-License-Identifier: MIT
// Moves, removals and unmappings of served memory: what is served then, and what of faults in
// flight.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/event_causes.hpp"
#include "support/events.hpp"
#include "support/heard.hpp"
#include "support/memory.hpp"
#include "support/parking.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

// The page is removed while its callback runs: what was decided before must not be installed.
TEST(fault_in_flight, whose_page_is_removed_is_dispatched_again) {
  std::atomic<int> calls{0};
  std::atomic<int> outdated{0};
  std::optional<page_range> page;
  test::serving served(1, overloaded{[&](fault& raised) {
                                       const int call = ++calls;
                                       if (call == 1) test::drop(*page);
                                       const auto answer = test::fill(raised, call);
                                       outdated += answer.kind() == resolution::state::gone;
                                       return answer;
                                     },
                                     [](const remove_event&) {}});
  page = served.memory().range();
  const auto seen = test::toucher(served.at(0)).saw();
  ASSERT_TRUE(seen);
  EXPECT_NE(*seen, test::shows(1)) << "bytes from before the removal";
  EXPECT_GE(outdated, 1);
}

// A copy that is under way, because its source is itself waited for, keeps all readers out; so the
// event is unread when the kernel gets to install the page.
TEST(fault_in_flight, that_an_unread_event_keeps_from_being_installed_is_tried_again) {
  UFFDPP_REQUIRE(test::kernel_faults());
  for (const unsigned threads : {1U, 3U}) {
    const test::memory source(test::memory_kind::anonymous, 1);
    const auto other = handle::open({.kernel_faults = kernel_fault_policy::required});
    other.register_range(source.range(), register_mode::missing);
    std::atomic<int> calls{0};
    test::heard<resolution::state> answers;
    test::heard<page_range> removed;
    fault_handler_options options;
    options.threads = threads;
    options.statistics = true;
    test::serving served(test::memory_kind::anonymous, 2,
                         overloaded{[&](fault& raised) {
                                      const auto answer = ++calls == 1 ? raised.copy(source.bytes())
                                                                       : test::fill(raised, 7);
                                      answers.add(answer.kind());
                                      return answer;
                                    },
                                    [&](const remove_event& seen) { removed.add(seen.range); }},
                         register_mode::missing, options);
    test::toucher reader(served.at(0));
    ASSERT_TRUE(test::next_fault(other)) << "nothing is being copied";
    test::background remover([&] { test::drop(served.memory().page(1)); });
    EXPECT_TRUE(remover.waits_for_reader());
    EXPECT_TRUE(other.copy(source.begin(), test::filled(page_size(), 5)));
    EXPECT_EQ(reader.saw(), test::shows(7)) << "installed behind the event";
    EXPECT_EQ(removed.only(), served.memory().page(1));
    EXPECT_EQ(answers.all().front(), resolution::state::retry);
    const auto counted = served.handler().statistics();
    EXPECT_GE(counted.retried, 1U);
    EXPECT_EQ(counted.failed, 0U);
  }
}

class remapped : public testing::Test {
 protected:
  // Where to move memory to: reserved, so that nothing else is there.
  const test::memory target_{test::memory_kind::anonymous, 8};
};

TEST_F(remapped, memory_keeps_its_offsets) {
  test::heard<remap_event> moved;
  test::serving served(
      8, overloaded{test::fill_by_offset(), [&](const remap_event& seen) { moved.add(seen); },
                    [](const unmap_event&) {}});
  EXPECT_EQ(test::look(served.at(3)), test::shows(4));
  test::move_memory(served.memory().page(2, 4), target_.at(0));
  EXPECT_EQ(test::toucher(target_.at(0)).saw(), test::shows(3)) << "page 2 is here now";
  EXPECT_EQ(test::look(target_.at(1)), test::shows(4)) << "page 3 was served before";
  EXPECT_EQ(test::toucher(target_.at(3)).saw(), test::shows(6));
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(1)) << "what stayed is served still";
  EXPECT_EQ(test::toucher(served.at(7)).saw(), test::shows(8));
  const auto seen = moved.only();
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->from, served.memory().page(2, 4));
  EXPECT_EQ(seen->to, target_.at(0));
}

TEST_F(remapped, memory_is_closed_where_it_is_when_its_region_ends) {
  test::serving served(4, overloaded{test::fill_by_offset(), [](const remap_event&) {}});
  test::move_memory(served.memory().page(2, 2), target_.at(0));
  EXPECT_EQ(test::toucher(target_.at(0)).saw(), test::shows(3));
  served.end_region();
  EXPECT_EQ(test::look(target_.at(0)), test::still_shows(3));
  EXPECT_EQ(test::look(target_.at(1)), test::closed_page());
  EXPECT_EQ(test::look(served.at(0)), test::closed_page());
}

TEST(fault_in_flight, whose_page_is_unmapped_gives_SIGSEGV) {
  test::signal started;
  test::signal go_on;
  // Page 1 of 3: with both neighbours mapped nobody else's memory fits into the gap.
  test::serving served(3, overloaded{[&](fault& raised) {
                                       started.set();
                                       EXPECT_TRUE(go_on.comes());
                                       return test::fill(raised, 1);
                                     },
                                     [](const unmap_event&) {}});
  test::toucher reader(served.at(1));
  ASSERT_TRUE(started.comes());
  test::unmap(served.memory().page(1));
  go_on.set();
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

// The kernel wakes nobody who waits where memory was unmapped or moved away.
TEST(deferred_fault_in_flight, gives_SIGSEGV_as_soon_as_its_page_is_unmapped) {
  test::parking parked;
  test::serving served(3, overloaded{[&](fault& raised) { return parked.put(raised.defer()); },
                                     [](const unmap_event&) {}});
  test::toucher reader(served.at(1));
  auto waiting = parked.take();
  test::unmap(served.memory().page(1));
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
  EXPECT_EQ(waiting.copy(test::filled(page_size(), 7)).kind(), resolution::state::gone);
}

TEST(deferred_fault_in_flight, gives_SIGSEGV_as_soon_as_its_page_is_moved_away) {
  const test::memory target(test::memory_kind::anonymous, 1);
  test::parking parked;
  test::serving served(3, overloaded{[&](fault& raised) { return parked.put(raised.defer()); },
                                     [](const remap_event&) {}});
  test::toucher reader(served.at(1));
  auto waiting = parked.take();
  test::move_memory(served.memory().page(1), target.begin());
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
  EXPECT_EQ(waiting.copy(test::filled(page_size(), 7)).kind(), resolution::state::gone);
}

// Its mapping's end sends an event that only the standby can read.
TEST(region_with_events, may_end_in_the_only_callback) {
  std::optional<served_region> inner;
  test::signal assigned;
  test::signal ended;
  test::serving served(1, overloaded{[&](fault& raised) {
                                       EXPECT_TRUE(assigned.comes());
                                       inner.reset();
                                       ended.set();
                                       return test::fill(raised, 1);
                                     },
                                     [](const unmap_event&) {}, [](const remove_event&) {}});
  inner.emplace(served.handler().serve(mapping::anonymous(page_size())));
  assigned.set();
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(1));
  ASSERT_TRUE(ended.comes());
  EXPECT_FALSE(inner);
}

TEST(handler_with_events, stops_while_threads_remove_and_fault) {
  for (int round = 0; round < 20; ++round) {
    fault_handler_options options;
    options.threads = 1 + static_cast<unsigned>(round) % 3;
    test::serving served(test::memory_kind::anonymous, 4,
                         overloaded{test::fill_by_offset(), [](const remove_event&) {}},
                         register_mode::missing, options);
    test::signal some;
    test::background remover([&] {
      for (int i = 0; i < 300; ++i) {
        test::drop(served.memory().page(1));
        const auto seen = test::look(served.at(1));
        if (i == 20) some.set();
        if (seen.signal != 0) break;
        // After the stop nothing is registered: a dropped page is an ordinary zero page.
      }
      some.set();
    });
    EXPECT_TRUE(some.comes());
    served.handler().request_stop();
    served.handler().join();
    EXPECT_TRUE(remover.finishes());
  }
}

}  // namespace
}  // namespace uffd
