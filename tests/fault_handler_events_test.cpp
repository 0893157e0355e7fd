// SPDX-License-Identifier: MIT
// Moves, removals and unmappings of served memory, and what callbacks hear of them.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

void drop(page_range range) {
  ASSERT_EQ(::madvise(reinterpret_cast<void*>(range.begin()), range.size(), MADV_DONTNEED), 0);
}

// A list that callbacks write and the test reads.
template <class Value>
class heard {
 public:
  void add(Value value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(value);
  }
  std::vector<Value> all() {
    const std::lock_guard lock(mutex_);
    return values_;
  }
  // The only one; waits for it.
  std::optional<Value> only() {
    if (!test::eventually([this] { return !all().empty(); })) return std::nullopt;
    const auto values = all();
    return values.size() == 1 ? std::optional(values.front()) : std::nullopt;
  }

 private:
  std::mutex mutex_;
  std::vector<Value> values_;
};

TEST(remove_callback, hears_what_is_removed) {
  heard<page_range> removed;
  test::serving served(8, overloaded{test::fill_by_offset(),
                                     [&](const remove_event& seen) { removed.add(seen.range); }});
  EXPECT_EQ(test::look(served.at(2)), test::shows(3));
  drop(served.memory().page(2, 3));
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
      drop(served.memory().page(0));
    }
  }
}

TEST(remove_callback, is_told_the_address_space_if_it_takes_one) {
  heard<std::size_t> spaces;
  test::serving served(
      1, overloaded{test::fill_by_offset(),
                    [&](const remove_event&, std::size_t space) { spaces.add(space); }});
  drop(served.memory().range());
  EXPECT_EQ(spaces.only(), 0U);
}

TEST(remove_callback, that_throws_is_reported_by_join) {
  test::serving served(
      2, overloaded{test::fill_by_offset(), [](const remove_event&) {
                      throw std::system_error(std::make_error_code(std::errc::io_error));
                    }});
  drop(served.memory().page(0));
  EXPECT_EQ(test::look(served.at(1)), test::shows(2)) << "it doesn't serve any more";
  EXPECT_EQ(test::error_after_stop(served.handler()), std::errc::io_error);
}

TEST(remove_callback, does_not_hear_of_ranges_that_others_serve) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  std::array<heard<page_range>, 2> removed;
  const auto client = [&](std::size_t index) {
    return overloaded{test::fill_by_offset(),
                      [&, index](const remove_event& seen) { removed[index].add(seen.range); }};
  };
  fault_handler handler(client(0), test::one_thread());
  const auto first = handler.serve(memory.page(0));
  const auto second = handler.serve(memory.page(1), client(1));
  drop(memory.page(1));
  EXPECT_EQ(removed[1].only(), memory.page(1));
  EXPECT_TRUE(removed[0].all().empty());
}

// One thread, and the callback itself waits for the removal to be read.
TEST(remove_callback, may_be_due_to_a_page_fault_callback) {
  std::optional<page_range> other;
  heard<page_range> removed;
  test::serving served(2, overloaded{[&](fault& raised) {
                                       drop(*other);
                                       return test::fill(raised, 4);
                                     },
                                     [&](const remove_event& seen) { removed.add(seen.range); }});
  other = served.memory().page(1);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(4));
  EXPECT_TRUE(test::eventually([&] { return !removed.all().empty(); }));
  EXPECT_EQ(removed.all().front(), *other);
}

// The page is removed while its callback runs: what was decided before must not be installed.
TEST(fault_in_flight, whose_page_is_removed_is_dispatched_again) {
  std::atomic<int> calls{0};
  std::atomic<int> outdated{0};
  std::optional<page_range> page;
  test::serving served(1, overloaded{[&](fault& raised) {
                                       const int call = ++calls;
                                       if (call == 1) drop(*page);
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

// The thread that removes runs on late, and until then the kernel refuses: retried by the timer.
TEST(fault_in_flight, that_an_event_makes_the_kernel_refuse_is_tried_again) {
  constexpr std::size_t rounds = 64;
  fault_handler_options options = test::one_thread();
  options.statistics = true;
  std::optional<page_range> other;
  test::serving served(
      test::memory_kind::anonymous, rounds + 1,
      overloaded{[&](fault& raised) {
                   std::optional<test::background> remover;
                   if (raised.offset() != 0 && raised.kind() == fault_kind::missing)
                     remover.emplace([&] { drop(*other); });
                   auto answer = test::fill_by_offset()(raised);
                   for (int i = 0; i < 1000 && !answer.is_resolved(); ++i) {
                     if (answer.kind() == resolution::state::retry) break;
                     answer = test::fill_by_offset()(raised);
                   }
                   return answer;
                 },
                 [](const remove_event&) {}},
      register_mode::missing, options);
  other = served.memory().page(0);
  for (std::size_t page = 1; page <= rounds; ++page)
    ASSERT_EQ(test::toucher(served.at(page)).saw(), test::shows(test::byte_of(page)));
  EXPECT_EQ(served.handler().statistics().failed, 0U);
}

class remapped : public testing::Test {
 protected:
  // Where to move memory to: reserved, so that nothing else is there.
  const test::memory target_{test::memory_kind::anonymous, 8};

  void move(page_range from, std::uintptr_t to) {
    ASSERT_EQ(::mremap(reinterpret_cast<void*>(from.begin()), from.size(), from.size(),
                       MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(to)),
              reinterpret_cast<void*>(to));
  }
};

TEST_F(remapped, memory_keeps_its_offsets) {
  heard<remap_event> moved;
  test::serving served(
      8, overloaded{test::fill_by_offset(), [&](const remap_event& seen) { moved.add(seen); },
                    [](const unmap_event&) {}});
  EXPECT_EQ(test::look(served.at(3)), test::shows(4));
  move(served.memory().page(2, 4), target_.at(0));
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
  move(served.memory().page(2, 2), target_.at(0));
  EXPECT_EQ(test::toucher(target_.at(0)).saw(), test::shows(3));
  served.end_region();
  EXPECT_EQ(test::look(target_.at(0)), test::shows(3));
  EXPECT_EQ(test::look(target_.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::look(served.at(0)), test::takes_sigbus);
}

TEST(unmap_callback, hears_what_is_unmapped) {
  heard<page_range> unmapped;
  test::serving served(8, overloaded{test::fill_by_offset(),
                                     [&](const unmap_event& seen) { unmapped.add(seen.range); }});
  const auto middle = served.memory().page(3, 2);
  ASSERT_EQ(::munmap(reinterpret_cast<void*>(middle.begin()), middle.size()), 0);
  EXPECT_EQ(unmapped.only(), middle);
  EXPECT_EQ(test::look(served.at(2)), test::shows(3));
  EXPECT_EQ(test::look(served.at(5)), test::shows(6)) << "offsets behind the gap are wrong";
}

TEST(unmap_callback, does_not_keep_a_waiter_asleep) {
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
  ASSERT_EQ(::munmap(reinterpret_cast<void*>(served.at(1)), page_size()), 0);
  go_on.set();
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
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
        drop(served.memory().page(1));
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
