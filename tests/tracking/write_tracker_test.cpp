// SPDX-License-Identifier: MIT
#include "uffd/tracking/write_tracker.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "support/forked.hpp"
#include "support/forked_huge_pages.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/swap.hpp"
#include "support/tracking.hpp"

namespace uffd {
namespace {

using test::collected;
using test::runs;
using test::write;

class written_pages_of
    : public testing::TestWithParam<std::tuple<tracker_engine, test::memory_kind>> {
 protected:
  static constexpr std::size_t pages = 8;

  void SetUp() override {
    UFFDPP_REQUIRE(test::can_track(engine()));
    UFFDPP_REQUIRE(test::available(kind(), pages, register_mode::write_protect));
    memory_.emplace(kind(), pages);
    tracker_.emplace(engine());
  }
  static tracker_engine engine() { return std::get<0>(GetParam()); }
  static test::memory_kind kind() { return std::get<1>(GetParam()); }
  tracked_memory track() const { return tracker_->track(memory().range(), memory().page_size()); }
  const test::memory& memory() const { return *memory_; }

 private:
  std::optional<test::memory> memory_;
  std::optional<write_tracker> tracker_;
};
INSTANTIATE_TEST_SUITE_P(memory, written_pages_of,
                         testing::Combine(testing::ValuesIn(test::every_engine),
                                          testing::ValuesIn(test::every_kind)),
                         [](const auto& tested) {
                           return test::name_of(std::get<0>(tested.param)) + "_" +
                                  std::string(test::name_of(std::get<1>(tested.param)));
                         });

TEST_P(written_pages_of, memory_are_none_at_first) {
  write(memory().at(2));
  const auto tracked = track();
  EXPECT_EQ(tracked.range(), memory().range());
  EXPECT_EQ(tracked.page_size(), memory().page_size());
  EXPECT_EQ(collected(tracked), runs{});
}

TEST_P(written_pages_of, memory_are_those_that_were_written_since) {
  for (const bool touched : {false, true}) {
    if (touched)
      for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
    const auto tracked = track();
    for (const std::size_t page : {1U, 3U, 4U, 7U}) write(memory().at(page) + 9);
    const runs expected{memory().page(1), memory().page(3, 2), memory().page(7)};
    EXPECT_EQ(collected(tracked), expected);
    EXPECT_EQ(collected(tracked), runs{});
    write(memory().at(4));
    EXPECT_EQ(collected(tracked), runs{memory().page(4)});
  }
}

TEST_P(written_pages_of, memory_are_not_those_that_were_read) {
  const auto tracked = track();
  for (std::size_t page = 0; page < pages; ++page)
    EXPECT_EQ(test::look(memory().at(page)), test::shows(0));
  EXPECT_EQ(collected(tracked), runs{});
  write(memory().at(5));
  EXPECT_EQ(collected(tracked), runs{memory().page(5)});
}

TEST_P(written_pages_of, memory_are_known_though_it_is_swapped_out) {
  if (test::is_huge(kind())) GTEST_SKIP() << "huge pages are not swapped out";
  UFFDPP_REQUIRE(test::swap_space());
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
  const auto tracked = track();
  ASSERT_TRUE(test::swap_out(memory().range()));
  EXPECT_EQ(collected(tracked), runs{});
  write(memory().at(3));
  ASSERT_TRUE(test::swap_out(memory().range()));
  EXPECT_EQ(collected(tracked), runs{memory().page(3)});
  EXPECT_EQ(collected(tracked), runs{});
  write(memory().at(3));
  write(memory().at(4));
  EXPECT_EQ(collected(tracked), runs{memory().page(3, 2)});
}

TEST_P(written_pages_of, memory_are_found_again_by_who_only_peeks) {
  const auto tracked = track();
  write(memory().at(0));
  std::array<page_range, 4> found;
  for (int look = 0; look < 2; ++look) {
    const auto seen = tracked.peek(tracked.range(), found);
    ASSERT_EQ(seen.written.size(), 1U);
    EXPECT_EQ(seen.written.front(), memory().page(0));
    EXPECT_TRUE(seen.rest.empty());
  }
  EXPECT_EQ(collected(tracked), runs{memory().page(0)});
  runs none;
  tracked.peek([&](page_range run) { none.push_back(run); });
  EXPECT_EQ(none, runs{});
}

TEST_P(written_pages_of, memory_that_a_buffer_can_not_hold_come_with_the_rest) {
  const auto tracked = track();
  for (std::size_t page = 0; page < pages; page += 2) write(memory().at(page));
  std::array<page_range, 1> one;
  auto part = tracked.range();
  for (std::size_t page = 0; page < pages; page += 2) {
    const auto found = tracked.collect(part, one);
    ASSERT_EQ(found.written.size(), 1U);
    EXPECT_EQ(found.written.front(), memory().page(page));
    part = found.rest;
  }
  // Whether the kernel looked at the last page too is its own affair.
  EXPECT_TRUE(memory().page(7).contains(part)) << to_string(part);
  EXPECT_EQ(collected(tracked), runs{});
}

TEST_P(written_pages_of, a_part_are_told_alone) {
  const auto tracked = track();
  write(memory().at(1));
  write(memory().at(6));
  EXPECT_EQ(collected(tracked, memory().page(4, 4)), runs{memory().page(6)});
  EXPECT_EQ(collected(tracked), runs{memory().page(1)});
}

TEST_P(written_pages_of, memory_are_those_that_system_calls_write_too) {
  const auto tracked = track();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd from(ends[0]);
  const unique_fd to(ends[1]);
  ASSERT_EQ(::write(to.get(), "abc", 3), 3);
  EXPECT_EQ(::read(from.get(), memory().bytes().data() + 3 * memory().page_size(), 3), 3);
  EXPECT_EQ(collected(tracked), runs{memory().page(3)});
}

// Of other memory the kernel keeps the mark, though what was private is lost.
TEST_P(written_pages_of, anonymous_memory_are_those_that_were_dropped) {
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
  const auto tracked = track();
  void* const dropped = memory().bytes().data() + memory().page_size();
  if (::madvise(dropped, memory().page_size(), MADV_DONTNEED) != 0)
    GTEST_SKIP() << "this kernel can't drop such pages";
  const bool is_anonymous = kind() == test::memory_kind::anonymous;
  const auto expected = is_anonymous ? runs{memory().page(1)} : runs{};
  EXPECT_EQ(collected(tracked), expected);
  EXPECT_EQ(test::look(memory().at(1)), test::shows(test::is_shared(kind()) ? 1 : 0));
  EXPECT_EQ(collected(tracked), runs{});
  write(memory().at(1));
  EXPECT_EQ(collected(tracked), runs{memory().page(1)});
}

TEST_P(written_pages_of, memory_that_was_protected_meanwhile_are_still_known) {
  const auto tracked = track();
  const auto protect = [&](int how) {
    ASSERT_EQ(::mprotect(memory().bytes().data(), memory().size(), how), 0);
  };
  write(memory().at(2));
  protect(PROT_READ);
  protect(PROT_READ | PROT_WRITE);
  write(memory().at(3));
  EXPECT_EQ(collected(tracked), runs{memory().page(2, 2)});
}

TEST_P(written_pages_of, a_child_are_its_own) {
  if (kind() == test::memory_kind::huge) UFFDPP_REQUIRE(test::forked_huge_pages());
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
  const auto tracked = track();
  write(memory().at(6));
  EXPECT_EQ(test::in_child([&] {
              if (test::try_write(memory().at(1), 2) != test::shows(2)) return 1;
              return test::thrown([&] { static_cast<void>(collected(tracked)); });
            }),
            test::exits_with(EOWNERDEAD));
  EXPECT_EQ(collected(tracked), runs{memory().page(6)});
  write(memory().at(2));
  EXPECT_EQ(collected(tracked), runs{memory().page(2)});
}

TEST_P(written_pages_of, memory_are_not_told_once_it_ends) {
  {
    const auto tracked = track();
    write(memory().at(1));
  }
  write(memory().at(2));
  EXPECT_EQ(test::look(memory().at(1)), test::shows(7));
  const auto again = track();
  EXPECT_EQ(collected(again), runs{});
}

// Who copies what was written has all that was, in the end: each thread counts in words of its own.
TEST_P(written_pages_of, several_threads_are_never_lost) {
  constexpr std::size_t threads = 3;
  const auto words = std::span(reinterpret_cast<std::atomic<std::uint32_t>*>(memory().begin()),
                               memory().size() / sizeof(std::uint32_t));
  const auto per_page = words.size() / pages;
  const auto tracked = track();
  std::vector<std::uint32_t> copied(pages * threads);
  std::atomic<bool> are_over{false};
  std::vector<std::jthread> writers;
  for (std::size_t each = 0; each < threads; ++each)
    writers.emplace_back([&, each] {
      std::mt19937 random(static_cast<unsigned>(each));
      while (!are_over) words[random() % pages * per_page + each].fetch_add(1);
    });
  const auto copy = [&](page_range run) {
    for (auto page = (run.begin() - memory().begin()) / memory().page_size();
         page < (run.end() - memory().begin()) / memory().page_size(); ++page)
      for (std::size_t each = 0; each < threads; ++each)
        copied[page * threads + each] = words[page * per_page + each].load();
  };
  for (int round = 0; round < 1000; ++round) tracked.collect(copy);
  are_over = true;
  writers.clear();
  tracked.collect(copy);
  for (std::size_t page = 0; page < pages; ++page)
    for (std::size_t each = 0; each < threads; ++each)
      EXPECT_EQ(copied[page * threads + each], words[page * per_page + each].load())
          << "page " << page << ", thread " << each;
}

}  // namespace
}  // namespace uffd
