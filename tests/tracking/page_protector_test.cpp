// SPDX-License-Identifier: MIT
// What is protected before the moment, and at it.
#include "tracking/page_protector.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "support/awaited.hpp"
#include "support/memory.hpp"
#include "support/pictured.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/saved_memory.hpp"
#include "support/sight.hpp"

namespace uffd {
namespace {

using numbers = std::vector<std::size_t>;
using test::nothing_to_stop;
using test::write;

// Whoever stops is called when all is protected.
class protected_pages_of : public test::saved_memory {};
UFFDPP_FOR_EVERY_SAVED_MEMORY(protected_pages_of);

TEST_P(protected_pages_of, memory_are_all_protected_before_the_moment) {
  fill();
  auto snapshots = pictures();
  const auto report = snapshots.take();
  EXPECT_EQ(report.protected_ahead, memory().size());
  EXPECT_EQ(report.protected_in_pause, 0U);
  const auto again = snapshots.take();
  EXPECT_EQ(again.protected_ahead + again.protected_in_pause, 0U);
}

TEST_P(protected_pages_of, memory_that_are_written_before_the_moment_are_as_they_were_at_it) {
  fill();
  auto snapshots = pictures();
  for (const bool full : {true, false, true}) {
    const auto report = snapshots.take(
        {},
        [&] {
          write(memory().at(2), 20);
          write(memory().at(6), 0);
        },
        [&] { fill(); }, full);
    EXPECT_EQ(report.protected_in_pause, 2 * memory().page_size());
    EXPECT_EQ(snapshots.of().at(2), 20);
    EXPECT_EQ(snapshots.of().at(6), 0);
    EXPECT_EQ(snapshots.of().at(3), 4);
  }
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  EXPECT_EQ(snapshots.of().at(2), 3);
}

TEST_P(protected_pages_of, memory_that_are_touched_first_before_the_moment_are_part_of_it) {
  write(memory().at(1));
  auto snapshots = pictures();
  snapshots.take(
      {}, [&] { write(memory().at(4), 40); }, [&] { write(memory().at(4), 41); });
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{1, 4}));
  EXPECT_EQ(snapshots.of().at(4), 40);
  snapshots.take(
      {}, [&] { write(memory().at(5), 50); }, [&] { write(memory().at(6), 60); });
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{4, 5}));
  EXPECT_EQ(snapshots.of().at(4), 41);
  EXPECT_EQ(snapshots.of().at(5), 50);
  EXPECT_EQ(snapshots.of().at(6), 0);
  snapshots.take();
  EXPECT_EQ(snapshots.of().numbers_put(), numbers{6});
}

TEST_P(protected_pages_of, memory_that_are_dropped_before_the_moment_are_what_was_left) {
  fill();
  if (!drop(0)) GTEST_SKIP() << "this kernel can't drop such pages";
  fill();
  auto snapshots = pictures();
  for (const bool full : {true, false, false}) {
    snapshots.take(
        {},
        [&] {
          ASSERT_TRUE(drop(1));
          ASSERT_TRUE(drop(2));
          EXPECT_EQ(test::look(memory().at(2)), test::shows(left_after_drop(2)));
          ASSERT_TRUE(drop(3));
          write(memory().at(3), 30);
        },
        [&] { fill(); }, full);
    EXPECT_EQ(snapshots.of().at(0), 1);
    EXPECT_EQ(snapshots.of().at(1), left_after_drop(1));
    EXPECT_EQ(snapshots.of().at(2), left_after_drop(2));
    EXPECT_EQ(snapshots.of().at(3), 30);
    EXPECT_EQ(snapshots.of().at(4), 5);
  }
  snapshots.take();
  for (std::size_t page = 0; page < pages; ++page)
    EXPECT_EQ(snapshots.of().at(page), static_cast<int>(page + 1));
}

// Those stay protected and wanted, and can be written.
TEST_P(protected_pages_of, memory_are_the_next_one_s_when_the_caller_fails_to_stop) {
  fill();
  auto snapshots = pictures();
  snapshots.take();
  write(memory().at(1), 10);
  write(memory().at(2), 20);
  const auto fail = [] { throw std::system_error(EDOM, std::generic_category()); };
  EXPECT_EQ(test::thrown([&] { snapshots.take({}, fail); }), EDOM);
  write(memory().at(2), 21);
  write(memory().at(3), 30);
  const auto report = snapshots.take();
  EXPECT_EQ(report.protected_ahead, 2 * memory().page_size());
  EXPECT_EQ(snapshots.of().numbers_put(), (numbers{1, 2, 3}));
  EXPECT_EQ(snapshots.of().at(1), 10);
  EXPECT_EQ(snapshots.of().at(2), 21);
}

// What nobody who stands still writes is put on one side of the moment or the other, whole.
TEST_P(protected_pages_of, memory_lose_no_write_that_races_with_the_moment) {
  const std::size_t rounds = test::is_huge(kind()) ? 5 : 50;
  fill();
  auto snapshots = pictures();
  std::atomic<bool> is_over{false};
  std::jthread writer([&] {
    auto* const bytes = memory().bytes().data();
    for (unsigned value = 0; !is_over; ++value)
      for (std::size_t page = 0; page < pages; ++page)
        std::atomic_ref(bytes[page * memory().page_size()])
            .store(static_cast<std::byte>(value), std::memory_order_relaxed);
  });
  for (std::size_t round = 0; round < rounds; ++round) {
    snapshots.take();
    for (const int puts : snapshots.of().puts) ASSERT_LE(puts, 1);
  }
  is_over = true;
  writer.join();
  snapshots.take();
  for (std::size_t page = 0; page < pages; ++page)
    EXPECT_EQ(test::look(memory().at(page)), test::shows(snapshots.of().at(page)));
}

// Enough that writers get at some of them while others are being protected.
TEST(many_protected_pages, are_protected_again_while_they_are_written) {
  UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::anonymous, 1));
  constexpr std::size_t count = 1024;
  const test::memory memory(test::memory_kind::anonymous, count);
  for (std::size_t page = 0; page < count; ++page) write(memory.at(page), 1);
  test::pictured snapshots(memory);
  std::atomic<bool> is_over{false};
  std::atomic<int> rounds{0};
  std::jthread writer([&] {
    for (; !is_over; ++rounds)
      for (std::size_t page = 0; page < count; ++page)
        std::atomic_ref(memory.bytes()[page * page_size()]).store(std::byte{2});
  });
  const auto take_when_all_is_written = [&] {
    const int seen = rounds;
    EXPECT_TRUE(test::eventually([&] { return rounds >= seen + 2; }));
    return snapshots.take().protected_ahead;
  };
  EXPECT_TRUE(test::eventually([&] { return take_when_all_is_written() > memory.size(); }));
  is_over = true;
}

// So large that several threads share the work, and written here and there.
TEST(many_protected_pages, that_were_written_before_the_moment_are_as_they_were_at_it) {
  UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::anonymous, 1));
  const std::size_t count = (std::size_t{48} << 20) / page_size();
  constexpr std::size_t step = 101;
  const test::memory memory(test::memory_kind::anonymous, count);
  const auto write_some = [&](int value) {
    for (std::size_t page = 0; page < count; page += step) write(memory.at(page), value);
  };
  test::pictured snapshots(memory);
  for (std::size_t page = 0; page < count; ++page) write(memory.at(page), 0);
  snapshots.take();
  const auto report = snapshots.take(
      {}, [&] { write_some(2); }, [&] { write_some(3); });
  EXPECT_EQ(report.protected_in_pause, (count + step - 1) / step * page_size());
  for (std::size_t page = 0; page < count; ++page)
    ASSERT_EQ(snapshots.of().at(page), page % step == 0 ? 2 : 0);
  snapshots.take();
  for (std::size_t page = 0; page < count; page += step) ASSERT_EQ(snapshots.of().at(page), 3);
}

// Of a range the kernel protects what is mapped, and says nothing of the rest.
class protected_pages : public testing::TestWithParam<bool> {
 protected:
  static constexpr std::size_t pages = 4;

  void SetUp() override {
    UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::anonymous, pages));
    memory_ = &test::memory_for_good(test::memory_kind::anonymous, pages);
    for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
    snapshots_.emplace(memory());
    if (GetParam()) snapshots().take();
  }
  const test::memory& memory() const { return *memory_; }
  test::pictured& snapshots() { return *snapshots_; }
  void unmap(std::size_t page) const {
    ASSERT_EQ(::munmap(memory().bytes().data() + page * page_size(), page_size()), 0);
  }

 private:
  const test::memory* memory_ = nullptr;
  std::optional<test::pictured> snapshots_;
};
INSTANTIATE_TEST_SUITE_P(snapshots, protected_pages, testing::Bool(),
                         [](const auto& of) { return of.param ? "again" : "first"; });

TEST_P(protected_pages, that_were_unmapped_fail_before_anybody_stands_still) {
  unmap(0);
  bool has_stopped = false;
  EXPECT_EQ(test::thrown([&] { snapshots().take({}, [&] { has_stopped = true; }); }), ENOENT);
  EXPECT_FALSE(has_stopped);
  write(memory().at(2), 2);
}

TEST_P(protected_pages, that_are_unmapped_before_the_moment_fail) {
  bool has_gone = false;
  EXPECT_EQ(test::thrown([&] {
              snapshots().take(
                  {}, [&] { unmap(1); }, [&] { has_gone = true; });
            }),
            ENOENT);
  EXPECT_TRUE(has_gone);
  write(memory().at(2), 2);
}

TEST_P(protected_pages, that_were_replaced_fail) {
  ASSERT_NE(::mmap(memory().bytes().data() + page_size(), page_size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  EXPECT_EQ(test::thrown([&] { snapshots().take(); }), ENOENT);
  write(memory().at(1), 2);
}

}  // namespace
}  // namespace uffd
