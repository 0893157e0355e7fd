// SPDX-License-Identifier: MIT
// Snapshots of every kind of memory, and as older kernels tell of it.
#include "tracking/snapshot_engine.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <ostream>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "support/continue_protects.hpp"
#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/pictured.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/mapping.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {
namespace {

using numbers = std::vector<std::size_t>;
using namespace std::chrono_literals;
using test::write;

using detail::page_lookup;

// Memory, and as what kernel this one counts.
struct situation {
  test::memory_kind kind;
  page_lookup lookup = page_lookup::scan;
};

std::ostream& operator<<(std::ostream& out, const situation& of) {
  out << of.kind;
  if (of.lookup == page_lookup::entries) out << "_by_entries";
  if (of.lookup == page_lookup::entries_without_marks) out << "_without_marks";
  return out;
}

class snapshot_of : public testing::TestWithParam<situation> {
 protected:
  static constexpr std::size_t pages = 8;

  void SetUp() override {
    UFFDPP_REQUIRE(test::snapshots_of(kind(), pages));
    if (lookup() == page_lookup::entries_without_marks)
      UFFDPP_REQUIRE(test::kernel_has(feature::event_remove));
    memory_.emplace(kind(), pages);
  }
  static test::memory_kind kind() { return GetParam().kind; }
  static page_lookup lookup() { return GetParam().lookup; }
  const test::memory& memory() const { return *memory_; }
  static test::pictured pictures_of(const test::memory& of, const snapshot_options& options = {}) {
    return test::pictured(of, options, nullptr, lookup());
  }
  test::pictured pictures() const { return pictures_of(memory()); }
  off_t as_offset(std::size_t page) const {
    return static_cast<off_t>(page * memory().page_size());
  }
  void fill() const {
    for (std::size_t page = 0; page < pages; ++page)
      write(memory().at(page), static_cast<int>(page + 1));
  }

 private:
  std::optional<test::memory> memory_;
};
INSTANTIATE_TEST_SUITE_P(
    memory, snapshot_of,
    testing::Values(situation{test::memory_kind::anonymous}, situation{test::memory_kind::shared},
                    situation{test::memory_kind::private_file}, situation{test::memory_kind::huge},
                    situation{test::memory_kind::shared_huge},
                    situation{test::memory_kind::anonymous, page_lookup::entries},
                    situation{test::memory_kind::shared, page_lookup::entries},
                    situation{test::memory_kind::huge, page_lookup::entries},
                    situation{test::memory_kind::shared_huge, page_lookup::entries},
                    situation{test::memory_kind::anonymous, page_lookup::entries_without_marks}),
    [](const auto& of) { return testing::PrintToString(of.param); });

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
  EXPECT_EQ(report.protected_bytes, 2 * memory().page_size());
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{2, 5}));
  EXPECT_EQ(snapshots.of().at(2), 20);
  EXPECT_EQ(snapshots.of().at(3), 4);
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), 0U);
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

// Two counters of each writer are equal whenever it does not hold its lock.
TEST_P(snapshot_of, memory_is_of_one_moment_while_it_is_written) {
  constexpr std::size_t writers = 2;
  const std::size_t count = test::is_huge(kind()) ? 4 : 256;
  const int rounds = test::is_huge(kind()) ? 25 : 200;
  const test::memory memory(kind(), count);
  const auto per_page = memory.page_size() / sizeof(std::uint64_t);
  const auto words =
      std::span(reinterpret_cast<std::atomic<std::uint64_t>*>(memory.begin()), count * per_page);
  auto snapshots = pictures_of(memory, {.extra_memory = 16 * memory.page_size()});
  std::array<std::mutex, writers> locks;
  std::atomic<bool> are_over{false};
  std::vector<std::jthread> threads;
  for (std::size_t each = 0; each < writers; ++each)
    threads.emplace_back([&, each] {
      std::mt19937 random(static_cast<unsigned>(each));
      while (!are_over) {
        const auto page = random() % (count / 2);
        {
          const std::lock_guard lock(locks[each]);
          words[page * per_page + each].fetch_add(1, std::memory_order_relaxed);
          words[(page + count / 2) * per_page + each].fetch_add(1, std::memory_order_relaxed);
        }
        std::this_thread::yield();
      }
    });
  std::vector<std::uint64_t> expected(count * writers);
  const auto value_of = [&](std::size_t page, std::size_t each) {
    std::uint64_t value = 0;
    std::memcpy(&value,
                snapshots.of().complete.data() + page * memory.page_size() + each * sizeof value,
                sizeof value);
    return value;
  };
  for (int round = 0; round < rounds; ++round) {
    snapshots.take(
        {},
        [&] {
          for (auto& lock : locks) lock.lock();
          for (std::size_t page = 0; page < count; ++page)
            for (std::size_t each = 0; each < writers; ++each)
              expected[page * writers + each] = words[page * per_page + each].load();
        },
        [&] {
          for (auto& lock : locks) lock.unlock();
        },
        round % 50 == 49);
    std::size_t wrong = 0;
    for (std::size_t page = 0; page < count; ++page)
      for (std::size_t each = 0; each < writers; ++each)
        wrong += value_of(page, each) != expected[page * writers + each] ? 1U : 0U;
    ASSERT_EQ(wrong, 0U) << "round " << round;
    const auto& puts = snapshots.of().puts;
    ASSERT_EQ(std::count_if(puts.begin(), puts.end(), [](int put) { return put > 1; }), 0);
  }
  are_over = true;
}

TEST_P(snapshot_of, memory_loses_no_write_of_who_does_not_stand_still) {
  const std::size_t count = test::is_huge(kind()) ? 4 : 64;
  const int rounds = test::is_huge(kind()) ? 10 : 100;
  const test::memory memory(kind(), count);
  const auto per_page = memory.page_size() / sizeof(std::uint64_t);
  const auto words =
      std::span(reinterpret_cast<std::atomic<std::uint64_t>*>(memory.begin()), count * per_page);
  auto snapshots = pictures_of(memory, {.extra_memory = 4 * memory.page_size()});
  std::atomic<bool> are_over{false};
  std::vector<std::jthread> writers;
  for (std::size_t each = 0; each < 2; ++each)
    writers.emplace_back([&, each] {
      std::mt19937 random(static_cast<unsigned>(each));
      while (!are_over) {
        words[random() % count * per_page + each].fetch_add(1, std::memory_order_relaxed);
        std::this_thread::yield();
      }
    });
  for (int round = 0; round < rounds; ++round) snapshots.take();
  are_over = true;
  writers.clear();
  snapshots.take();
  const auto bytes = memory.bytes();
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), snapshots.of().complete.begin()));
}

}  // namespace
}  // namespace uffd
