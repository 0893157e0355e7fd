// SPDX-License-Identifier: MIT
// What snapshots of paged memory have.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <system_error>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/pictured.hpp"
#include "support/pictured_paging.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/swap.hpp"

namespace uffd {
namespace {

using numbers = std::vector<std::size_t>;
using test::nothing_to_stop;

class snapshot_of_paged : public test::saved_paging_test {};
UFFDPP_FOR_EVERY_SAVED_PAGING(snapshot_of_paged);

TEST_P(snapshot_of_paged, memory_has_all_of_its_source_and_what_was_written) {
  memory().read(0);
  memory().write(1, 10);
  memory().read(2);
  memory().write(2, 20);
  auto snapshots = pictures();
  memory().write(3, 30);
  memory().write(pages - 1, 70);
  const auto before = memory().memory.statistics();
  const auto report = snapshots.take();
  EXPECT_FALSE(report.is_delta);
  EXPECT_EQ(report.protected_ahead, 4 * memory().page_size());
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  EXPECT_EQ(snapshots.of().complete, memory().now);
  EXPECT_EQ(memory().memory.statistics().pages_loaded, before.pages_loaded) << "nothing is loaded";
  EXPECT_EQ(memory().memory.statistics().faults, before.faults);
}

TEST_P(snapshot_of_paged, memory_again_has_only_what_was_written_since) {
  memory().write(1, 10);
  auto snapshots = pictures();
  snapshots.take();
  memory().read(4);
  EXPECT_TRUE(snapshots.take().is_delta);
  EXPECT_EQ(snapshots.of().numbers_put(), numbers{});
  memory().write(1, 11);
  memory().write(4, 40);
  memory().write(5, 50);
  const auto report = snapshots.take();
  EXPECT_EQ(report.saved_bytes, 3 * memory().page_size());
  EXPECT_EQ(report.protected_ahead, 3 * memory().page_size());
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{1, 4, 5}));
  EXPECT_EQ(snapshots.of().complete, memory().now);
  snapshots.take_full();
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

// Of a page that was missing, one that was read, and one that was written before.
TEST_P(snapshot_of_paged, memory_has_nothing_that_was_written_after_the_moment) {
  memory().read(1);
  memory().write(2, 2);
  auto snapshots = pictures();
  for (const int value : {10, 20, 30}) {
    const auto expected = memory().now;
    const auto running = snapshots.begin({}, nothing_to_stop, [&] {
      for (std::size_t page = 0; page < 3; ++page) memory().write(page, value);
    });
    running->wait();
    running->report();
    ASSERT_EQ(snapshots.of().complete, expected);
  }
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{0, 1, 2}));
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

TEST_P(snapshot_of_paged, memory_has_what_was_written_before_the_moment) {
  memory().read(1);
  memory().write(2, 2);
  auto snapshots = pictures();
  for (const bool full : {true, false, false, true}) {
    std::vector<std::byte> expected;
    const auto report = snapshots.take(
        {},
        [&] {
          for (std::size_t page = 0; page < 3; ++page) memory().write(page, full ? 60 : 70);
          expected = memory().now;
        },
        [&] {
          for (std::size_t page = 0; page < 3; ++page) memory().write(page, 80);
        },
        full);
    EXPECT_EQ(report.protected_in_pause, 3 * memory().page_size());
    ASSERT_EQ(snapshots.of().complete, expected);
  }
}

TEST_P(snapshot_of_paged, memory_has_what_was_swapped_out) {
  if (GetParam().backing == page_backing::huge) GTEST_SKIP() << "huge pages are not swapped out";
  UFFDPP_REQUIRE(test::swap_space());
  const page_range all(memory().at(0), pages * page_size());
  memory().read(1);
  memory().write(2, 20);
  memory().write(3, 30);
  auto snapshots = pictures();
  for (const int value : {40, 50, 60}) {
    ASSERT_TRUE(test::swap_out(all));
    std::vector<std::byte> expected;
    snapshots.take(
        {},
        [&] {
          memory().write(3, value);
          expected = memory().now;
          EXPECT_TRUE(value != 60 || test::swap_out(all));
        },
        [&] {
          for (std::size_t page = 0; page < 3; ++page) memory().write(page, value + 1);
        });
    ASSERT_EQ(snapshots.of().complete, expected);
  }
  ASSERT_TRUE(test::swap_out(all));
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{0, 1, 2}));
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

TEST_P(snapshot_of_paged, memory_takes_no_copy_of_what_the_source_has) {
  auto snapshots = pictures({.extra_memory = memory().page_size()});
  const auto expected = memory().now;
  const auto first = snapshots.take({}, nothing_to_stop, [&] {
    for (std::size_t page = 0; page < pages; ++page) memory().write(page, 10);
  });
  EXPECT_EQ(first.pre_images, 0U);
  EXPECT_EQ(snapshots.of().complete, expected);
  EXPECT_EQ(snapshots.take({}, nothing_to_stop, [&] { memory().write(3, 30); }).pre_images, 1U);
}

TEST_P(snapshot_of_paged, memory_is_as_it_was_while_system_calls_write_to_it) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const unique_fd out(ends[0]);
  const unique_fd in(ends[1]);
  const std::array<char, 4> sent{'a', 'b', 'c', 'd'};
  memory().write(2, 2);
  auto snapshots = pictures();
  for (const bool again : {false, true}) {
    const auto expected = memory().now;
    snapshots.take({}, nothing_to_stop, [&] {
      for (std::size_t page = 1; page < 3; ++page) {
        ASSERT_EQ(::write(in.get(), sent.data() + again, 1), 1);
        ASSERT_EQ(::read(out.get(), memory().page(page).data(), 1), 1);
        memory().now[page * memory().page_size()] = static_cast<std::byte>(sent[again]);
      }
    });
    ASSERT_EQ(snapshots.of().complete, expected);
  }
  snapshots.take();
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

TEST_P(snapshot_of_paged, memory_hears_of_writes_to_what_is_pinned) {
  std::optional<pinned_pages> before(memory().memory.pin(memory().page(1), pin_access::write));
  auto snapshots = pictures();
  std::optional<pinned_pages> meanwhile(memory().memory.pin(memory().page(2), pin_access::write));
  for (const int value : {10, 20}) {
    const auto expected = memory().now;
    std::optional<pinned_pages> after;
    snapshots.take({}, nothing_to_stop, [&] {
      memory().write(1, value);
      memory().write(2, value);
      after.emplace(memory().memory.pin(memory().page(3), pin_access::write));
      memory().write(3, value);
    });
    ASSERT_EQ(snapshots.of().complete, expected);
  }
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{1, 2, 3}));
  EXPECT_EQ(snapshots.of().complete, memory().now);
  before.reset();
  meanwhile.reset();
}

// Also where a snapshot has protected it meanwhile.
TEST_P(snapshot_of_paged, memory_lets_what_is_pinned_for_writing_be_written_without_a_fault) {
  memory().write(1, 1);
  auto snapshots = pictures();
  snapshots.take();
  const auto pinned = memory().memory.pin(memory().page(1), pin_access::write);
  const auto missing = memory().memory.pin(memory().page(2), pin_access::write);
  const auto before = memory().memory.statistics().faults;
  memory().write(1, 10);
  memory().write(2, 20);
  EXPECT_EQ(memory().memory.statistics().faults, before);
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{1, 2}));
}

TEST_P(snapshot_of_paged, memory_fails_where_what_was_written_is_dropped) {
  memory().write(1, 1);
  memory().write(2, 2);
  auto snapshots = pictures();
  const auto drop = [&] {
    ASSERT_EQ(::madvise(memory().page(1).data(), memory().page_size(), MADV_DONTNEED), 0);
    memory().now[memory().page_size()] = test::source_byte(memory().page_size());
  };
  const auto refusal = test::refusal_of([&] { snapshots.take({}, drop); });
  EXPECT_EQ(refusal.number, ENODATA);
  EXPECT_TRUE(refusal.names("dropped")) << refusal.words;
  memory().read(1);
  memory().write(1, 1);
  snapshots.take();
  EXPECT_EQ(snapshots.of().complete, memory().now);
  drop();
  memory().read(1);
  memory().write(2, 3);
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{1, 2}));
  EXPECT_EQ(snapshots.of().complete, memory().now);
  memory().write(1, 4);
  snapshots.take();
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

TEST_P(snapshot_of_paged, memory_that_could_not_be_protected_is_the_next_time) {
  memory().write(1, 10);
  auto snapshots = pictures();
  const auto& on = test::paged_area_of(memory().memory)->on();
  const page_range all(memory().at(0), pages * memory().page_size());
  ASSERT_TRUE(on.unregister(all));
  EXPECT_EQ(test::thrown([&] { snapshots.take(); }), ENOENT);
  on.register_range(all, register_mode::missing | register_mode::write_protect);
  const auto expected = memory().now;
  snapshots.take({}, nothing_to_stop, [&] { memory().write(1, 20); });
  EXPECT_EQ(snapshots.of().complete, expected);
  snapshots.take();
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

TEST_P(snapshot_of_paged, memory_that_is_pinned_afterwards_is_written_without_a_fault) {
  memory().write(1, 1);
  {
    auto snapshots = pictures();
    snapshots.take();
  }
  const auto pinned = memory().memory.pin(memory().page(1), pin_access::write);
  const auto before = memory().memory.statistics().faults;
  memory().write(1, 10);
  EXPECT_EQ(memory().memory.statistics().faults, before);
}

TEST_P(snapshot_of_paged, memory_belongs_to_one_snapshotter_at_a_time) {
  std::optional<test::pictured> first(pictures());
  const auto refusal = test::refusal_of([&] { pictures(); });
  EXPECT_EQ(refusal.number, EBUSY);
  EXPECT_TRUE(refusal.names("another snapshotter")) << refusal.words;
  memory().write(1, 1);
  first->take();
  first.reset();
  memory().write(1, 2);
  memory().write(2, 2);
  auto second = pictures();
  second.take();
  EXPECT_EQ(second.of().complete, memory().now);
}

TEST_P(snapshot_of_paged, memory_can_be_cancelled) {
  for (std::size_t page = 0; page < pages; ++page) memory().write(page, 1);
  auto snapshots = pictures({.extra_memory = memory().page_size()});
  test::signal reached;
  test::signal release;
  const auto running = snapshots.begin({.reached = &reached, .release = &release});
  ASSERT_TRUE(reached.comes());
  running->cancel();
  for (std::size_t page = 0; page < pages; ++page) memory().write(page, 2);
  release.set();
  running->wait();
  EXPECT_EQ(test::thrown([&] { running->report(); }), ECANCELED);
  EXPECT_FALSE(snapshots.take().is_delta);
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

// All in one batch, so that only the first has a buffer.
TEST_P(snapshot_of_paged, memory_lets_all_writers_go_on_though_one_has_a_buffer) {
  for (std::size_t page = 0; page < pages; ++page) memory().write(page, 1);
  const auto expected = memory().now;
  auto snapshots = pictures({.extra_memory = memory().page_size()});
  std::vector<std::jthread> writers;
  const auto running = snapshots.begin({}, nothing_to_stop, [&] {
    for (std::size_t page = 0; page < pages; ++page)
      writers.emplace_back([&, page] { test::write(memory().at(page), 9); });
  });
  running->wait();
  running->report();
  writers.clear();
  EXPECT_EQ(snapshots.of().complete, expected);
  for (std::size_t page = 0; page < pages; ++page) {
    EXPECT_EQ(snapshots.of().puts[page], 1);
    EXPECT_EQ(test::look(memory().at(page)), test::shows(9));
  }
}

}  // namespace
}  // namespace uffd
