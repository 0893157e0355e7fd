// SPDX-License-Identifier: MIT
// Snapshots of paged memory whose source fails, or is slow.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <system_error>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/pictured.hpp"
#include "support/pictured_paging.hpp"
#include "support/refusal.hpp"
#include "support/sight.hpp"

namespace uffd {
namespace {

using numbers = std::vector<std::size_t>;
using test::nothing_to_stop;

class snapshot_over_a_source : public test::saved_paging_test {};
UFFDPP_FOR_EVERY_SAVED_PAGING(snapshot_over_a_source);

TEST_P(snapshot_over_a_source, fails_with_the_error_of_its_source_and_is_whole_the_next_time) {
  memory().write(1, 1);
  memory().read(2);
  auto snapshots = pictures();
  std::atomic<bool> fails{true};
  memory().source.reading_fails = [&] {
    return fails ? std::make_error_code(std::errc::no_such_device) : std::error_code();
  };
  const auto refusal = test::refusal_of([&] { snapshots.take(); });
  EXPECT_EQ(refusal.number, ENODEV);
  EXPECT_TRUE(refusal.names("the source of paged memory")) << refusal.words;
  memory().write(1, 10);
  memory().read(2);
  memory().write(2, 20);
  fails = false;
  memory().read(3);
  EXPECT_FALSE(snapshots.take().is_delta);
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

TEST_P(snapshot_over_a_source, waits_for_a_source_whose_error_passes) {
  memory().write(1, 1);
  auto snapshots = pictures();
  std::atomic<int> failures{3};
  memory().source.reading_fails = [&] {
    return failures-- > 0 ? std::make_error_code(std::errc::connection_reset) : std::error_code();
  };
  snapshots.take();
  EXPECT_LE(failures, 0);
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

// What was written is saved before anything is read.
TEST_P(snapshot_over_a_source, keeps_no_buffer_from_writers_while_a_source_is_slow) {
  memory().write(1, 1);
  memory().write(3, 3);
  auto snapshots = pictures({.extra_memory = memory().page_size()});
  test::signal reads;
  test::signal goes_on;
  memory().source.reading_fails = [&] {
    reads.set();
    EXPECT_TRUE(goes_on.comes());
    return std::error_code();
  };
  const auto expected = memory().now;
  const auto running = snapshots.begin();
  ASSERT_TRUE(reads.comes());
  memory().write(1, 10);
  memory().write(3, 30);
  goes_on.set();
  running->wait();
  running->report();
  EXPECT_EQ(snapshots.of().complete, expected);
}

// Whoever writes to a page goes on while it is read for the snapshot.
TEST_P(snapshot_over_a_source, keeps_no_writer_waiting_for_a_slow_source) {
  memory().read(1);
  auto snapshots = pictures();
  test::signal reads;
  test::signal goes_on;
  memory().source.reading_fails = [&] {
    reads.set();
    EXPECT_TRUE(goes_on.comes());
    return std::error_code();
  };
  const auto expected = memory().now;
  const auto running = snapshots.begin();
  ASSERT_TRUE(reads.comes());
  memory().write(1, 10);
  goes_on.set();
  running->wait();
  running->report();
  EXPECT_EQ(snapshots.of().complete, expected);
}

TEST_P(snapshot_over_a_source, has_what_came_again_though_its_source_failed_at_first) {
  memory().write(1, 1);
  auto snapshots = pictures();
  std::atomic<bool> fails_once{false};
  memory().source.reading_fails = [&] {
    return fails_once.exchange(false) ? std::make_error_code(std::errc::connection_reset)
                                      : std::error_code();
  };
  snapshots.take();
  ASSERT_EQ(::madvise(memory().page(1).data(), memory().page_size(), MADV_DONTNEED), 0);
  memory().now[memory().page_size()] = test::source_byte(memory().page_size());
  fails_once = true;
  memory().read(1);
  EXPECT_FALSE(fails_once) << "it was asked again";
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), numbers{1});
  EXPECT_EQ(snapshots.of().complete, memory().now);
}

}  // namespace
}  // namespace uffd
