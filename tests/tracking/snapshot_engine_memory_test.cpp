// SPDX-License-Identifier: MIT
// Snapshots of every kind of memory, and as older kernels tell of it.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "support/continue_protects.hpp"
#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/pictured.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/saved_memory.hpp"
#include "support/sight.hpp"
#include "support/swap.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {
namespace {

using numbers = std::vector<std::size_t>;
using test::write;

class snapshot_of : public test::saved_memory {};
UFFDPP_FOR_EVERY_SAVED_MEMORY(snapshot_of);

TEST_P(snapshot_of, memory_has_each_page_once_and_nothing_of_what_was_never_touched) {
  write(memory().at(1), 1);
  write(memory().at(2), 2);
  write(memory().at(6), 6);
  write(memory().at(7), 0);
  auto snapshots = pictures();
  const auto report = snapshots.take();
  EXPECT_FALSE(report.is_delta);
  EXPECT_EQ(report.saved_bytes, 3 * memory().page_size());
  EXPECT_EQ(snapshots.of().puts, (std::vector<int>{0, 1, 1, 0, 0, 0, 1, 0}));
  EXPECT_EQ(snapshots.of().zeroes, std::vector<int>(pages, 0));
  EXPECT_EQ(snapshots.of().at(1), 1);
  EXPECT_EQ(snapshots.of().at(2), 2);
  EXPECT_EQ(snapshots.of().at(6), 6);
}

TEST_P(snapshot_of, memory_leaves_what_was_never_touched_untouched) {
  if (kind() == test::memory_kind::private_file)
    GTEST_SKIP() << "a private mapping of a file is read to know what it has";
  if (kind() != test::memory_kind::anonymous) UFFDPP_REQUIRE(test::continue_protects());
  write(memory().at(3));
  auto snapshots = pictures();
  snapshots.take();
  if (kind() == test::memory_kind::shared) {
    EXPECT_EQ(::lseek(memory().mapping().file(), 0, SEEK_DATA), as_offset(3));
    EXPECT_EQ(::lseek(memory().mapping().file(), as_offset(3), SEEK_HOLE), as_offset(4));
  }
  std::size_t present = 0;
  for (std::size_t page = 0; page < pages; ++page)
    present += test::has_flag(memory().at(page), 63) ? 1U : 0U;
  EXPECT_EQ(present, 1U);
}

TEST_P(snapshot_of, memory_after_another_has_what_changed) {
  fill();
  auto snapshots = pictures();
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  write(memory().at(2), 20);
  write(memory().at(5), 50);
  const auto report = snapshots.take();
  EXPECT_TRUE(report.is_delta);
  EXPECT_EQ(report.saved_bytes, 2 * memory().page_size());
  EXPECT_EQ(report.protected_ahead, 2 * memory().page_size());
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{2, 5}));
  EXPECT_EQ(snapshots.of().at(2), 20);
  EXPECT_EQ(snapshots.of().at(3), 4);
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), 0U);
}

TEST_P(snapshot_of, memory_has_what_was_swapped_out) {
  if (test::is_huge(kind())) GTEST_SKIP() << "huge pages are not swapped out";
  UFFDPP_REQUIRE(test::swap_space());
  fill();
  auto snapshots = pictures();
  ASSERT_TRUE(test::swap_out(memory().range()));
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  EXPECT_EQ(snapshots.of().at(3), 4);
  write(memory().at(2), 20);
  ASSERT_TRUE(test::swap_out(memory().range()));
  snapshots.take(
      {}, [&] { write(memory().at(5), 50); },
      [&] {
        write(memory().at(2), 21);
        write(memory().at(5), 51);
      });
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{2, 5}));
  EXPECT_EQ(snapshots.of().at(2), 20);
  EXPECT_EQ(snapshots.of().at(5), 50);
  snapshots.take(
      {}, [&] { ASSERT_TRUE(test::swap_out(memory().range())); }, [&] { fill(); });
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{2, 5}));
  EXPECT_EQ(snapshots.of().at(2), 21);
  EXPECT_EQ(snapshots.of().at(5), 51);
  EXPECT_EQ(snapshots.of().at(6), 7);
}

TEST_P(snapshot_of, memory_after_another_has_what_was_touched_first_since) {
  auto snapshots = pictures();
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), 0U);
  write(memory().at(4), 40);
  EXPECT_EQ(test::look(memory().at(5)), test::shows(0));
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), numbers{4});
  write(memory().at(4), 41);
  write(memory().at(5), 50);
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{4, 5}));
  EXPECT_EQ(snapshots.of().at(4), 41);
}

TEST_P(snapshot_of, memory_has_zeroes_where_there_were_bytes) {
  fill();
  auto snapshots = pictures();
  snapshots.take();
  write(memory().at(3), 0);
  const auto report = snapshots.take();
  EXPECT_EQ(report.saved_bytes, 0U);
  EXPECT_EQ(report.zero_bytes, memory().page_size());
  EXPECT_EQ(snapshots.of().pages_put(), 0U);
  EXPECT_EQ(snapshots.of().zeroes[3], 1);
  EXPECT_EQ(snapshots.of().at(3), 0);
  // Said once.
  write(memory().at(3), 1);
  write(memory().at(3), 0);
  snapshots.take();
  EXPECT_EQ(snapshots.of().zeroes[3], 0);
}

TEST_P(snapshot_of, memory_in_full_has_all_again) {
  fill();
  auto snapshots = pictures();
  snapshots.take();
  write(memory().at(0), 0);
  write(memory().at(1), 10);
  const auto report = snapshots.take_full();
  EXPECT_FALSE(report.is_delta);
  EXPECT_EQ(snapshots.of().pages_put(), pages - 1);
  EXPECT_EQ(snapshots.of().at(0), 0);
  EXPECT_EQ(snapshots.of().at(1), 10);
  write(memory().at(6), 60);
  EXPECT_TRUE(snapshots.take().is_delta);
  EXPECT_EQ(snapshots.of().numbers_put(), numbers{6});
}

TEST_P(snapshot_of, memory_that_was_dropped_before_has_what_is_left) {
  fill();
  auto snapshots = pictures();
  snapshots.take();
  for (const bool looked_at : {false, true}) {
    const std::size_t page = looked_at ? 2 : 1;
    void* const dropped = memory().bytes().data() + page * memory().page_size();
    if (::madvise(dropped, memory().page_size(), MADV_DONTNEED) != 0)
      GTEST_SKIP() << "this kernel can't drop such pages";
    const int left = test::is_shared(kind()) ? static_cast<int>(page + 1) : 0;
    if (looked_at) {
      EXPECT_EQ(test::look(memory().at(page)), test::shows(left));
    }
    snapshots.take();
    EXPECT_EQ(snapshots.of().at(page), left);
  }
  write(memory().at(1), 70);
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), numbers{1});
  EXPECT_EQ(snapshots.of().at(1), 70);
}

// The kernel goes on dropping as soon as anybody knows: it can't be saved then.
TEST_P(snapshot_of, memory_that_is_dropped_meanwhile_fails_or_has_what_it_was) {
  fill();
  auto snapshots = pictures();
  snapshots.take();
  fill();
  write(memory().at(0), 10);
  void* const last = memory().bytes().data() + 7 * memory().page_size();
  int dropped = 0;
  const auto running = snapshots.begin({}, test::nothing_to_stop, [&] {
    dropped = ::madvise(last, memory().page_size(), MADV_DONTNEED);
  });
  running->wait();
  if (dropped != 0) GTEST_SKIP() << "this kernel can't drop such pages";
  EXPECT_EQ(test::thrown([&] { running->report(); }), ENODATA);
  EXPECT_EQ(snapshots.of().at(0), 1);
  // The application goes on, and the next one has it all.
  write(memory().at(7), 77);
  snapshots.take();
  EXPECT_EQ(snapshots.of().at(0), 10);
  EXPECT_EQ(snapshots.of().at(7), 77);
}

TEST_P(snapshot_of, memory_has_what_a_write_replaced_before_it_was_saved) {
  fill();
  auto snapshots = pictures();
  const auto report = snapshots.take({}, test::nothing_to_stop, [&] {
    for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 99);
  });
  EXPECT_GT(report.pre_images, 0U);
  EXPECT_EQ(snapshots.of().puts, std::vector<int>(pages, 1));
  for (std::size_t page = 0; page < pages; ++page)
    EXPECT_EQ(snapshots.of().at(page), static_cast<int>(page + 1));
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  for (std::size_t page = 0; page < pages; ++page) EXPECT_EQ(snapshots.of().at(page), 99);
}

TEST_P(snapshot_of, memory_lets_system_calls_write_meanwhile) {
  fill();
  auto snapshots = pictures();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd from(ends[0]);
  const unique_fd to(ends[1]);
  ASSERT_EQ(::write(to.get(), "abc", 3), 3);
  snapshots.take({}, test::nothing_to_stop, [&] {
    EXPECT_EQ(::read(from.get(), memory().bytes().data() + 3 * memory().page_size(), 3), 3);
  });
  EXPECT_EQ(snapshots.of().at(3), 4);
  snapshots.take();
  EXPECT_EQ(snapshots.of().at(3), 'a');
  EXPECT_EQ(snapshots.of().numbers_put(), numbers{3});
}

TEST_P(snapshot_of, memory_that_failed_owes_the_next_what_it_had) {
  fill();
  auto snapshots = pictures();
  snapshots.take();
  write(memory().at(1), 10);
  write(memory().at(5), 50);
  EXPECT_EQ(test::thrown([&] { snapshots.take({.fails_at = 0}); }), ENOSPC);
  write(memory().at(6), 60);
  write(memory().at(1), 11);
  EXPECT_EQ(test::thrown([&] { snapshots.take({.fails_to_commit = true}); }), EIO);
  const auto report = snapshots.take();
  EXPECT_TRUE(report.is_delta);
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{1, 5, 6}));
  EXPECT_EQ(snapshots.of().at(1), 11);
  EXPECT_EQ(snapshots.of().at(5), 50);
  EXPECT_EQ(snapshots.of().at(6), 60);
}

TEST_P(snapshot_of, memory_leaves_nobody_waiting_when_it_ends) {
  fill();
  for (int life = 0; life < 2; ++life) {
    auto snapshots = pictures();
    snapshots.take();
    EXPECT_EQ(snapshots.of().pages_put(), pages);
    snapshots.end();
    for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 9);
  }
}

}  // namespace
}  // namespace uffd
