// SPDX-License-Identifier: MIT
// The callback before a write, of the synchronous engine.
#include "tracking/trapped_writes.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <ostream>
#include <random>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/tracking.hpp"
#include "uffd/mapping.hpp"
#include "uffd/tracking/write_tracker.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {
namespace {

using test::collected;
using test::runs;
using test::write;

// What a callback saw of each page's first byte, in the order of the calls.
struct seen_page {
  std::size_t page;
  int byte;
  friend bool operator==(seen_page, seen_page) = default;
  friend std::ostream& operator<<(std::ostream& out, seen_page seen) {
    return out << "page " << seen.page << " with " << seen.byte;
  }
};

// Unseen by TSan, which does not know that the one who writes waits until the callback has
// returned.
__attribute__((noinline, no_sanitize("thread"))) int shown_byte(std::uintptr_t address) {
  return std::to_integer<int>(*reinterpret_cast<const volatile std::byte*>(address));
}

class page_before_a_write : public testing::TestWithParam<test::memory_kind> {
 protected:
  static constexpr std::size_t pages = 8;

  void SetUp() override {
    UFFDPP_REQUIRE(test::can_track(tracker_engine::synchronous));
    UFFDPP_REQUIRE(test::available(GetParam(), pages, register_mode::write_protect));
    memory_.emplace(GetParam(), pages);
    tracker_.emplace([this](page_range page) {
      const std::lock_guard lock(lock_);
      seen_.push_back(
          {(page.begin() - memory().begin()) / memory().page_size(), shown_byte(page.begin())});
    });
  }
  tracked_memory track() const { return tracker_->track(memory().range(), memory().page_size()); }
  const test::memory& memory() const { return *memory_; }
  std::vector<seen_page> seen() {
    const std::lock_guard lock(lock_);
    return std::exchange(seen_, {});
  }

 private:
  std::optional<test::memory> memory_;
  std::mutex lock_;
  std::vector<seen_page> seen_;
  std::optional<write_tracker> tracker_;
};
UFFDPP_ON_EVERY_KIND(page_before_a_write);

using all_seen = std::vector<seen_page>;

TEST_P(page_before_a_write, is_what_it_was_when_it_was_tracked) {
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
  const auto tracked = track();
  write(memory().at(3), 2);
  write(memory().at(1) + 9, 2);
  EXPECT_EQ(seen(), (all_seen{{3, 1}, {1, 1}}));
}

TEST_P(page_before_a_write, is_shown_once_until_it_is_collected) {
  const auto tracked = track();
  for (int value = 1; value < 4; ++value) write(memory().at(2), value);
  EXPECT_EQ(seen(), (all_seen{{2, 0}}));
  EXPECT_EQ(collected(tracked), runs{memory().page(2)});
  for (int value = 4; value < 7; ++value) write(memory().at(2), value);
  EXPECT_EQ(seen(), (all_seen{{2, 3}}));
}

TEST_P(page_before_a_write, is_zero_where_nothing_was_touched) {
  const auto tracked = track();
  EXPECT_EQ(test::look(memory().at(4)), test::shows(0));
  EXPECT_EQ(seen(), all_seen{});
  write(memory().at(4));
  write(memory().at(5));
  EXPECT_EQ(seen(), (all_seen{{4, 0}, {5, 0}}));
}

TEST_P(page_before_a_write, is_shown_where_a_system_call_writes) {
  const auto tracked = track();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd from(ends[0]);
  const unique_fd to(ends[1]);
  ASSERT_EQ(::write(to.get(), "abc", 3), 3);
  EXPECT_EQ(::read(from.get(), memory().bytes().data() + 3 * memory().page_size(), 3), 3);
  EXPECT_EQ(seen(), (all_seen{{3, 0}}));
  EXPECT_EQ(test::look(memory().at(3)), test::shows('a'));
}

// Whatever threads do. Relaxed: of other orders TSan holds a lock of its own at each access, for
// which the callback would wait.
TEST_P(page_before_a_write, does_not_change_while_it_is_shown) {
  std::atomic<int> wrong{0};
  const auto words_of = [](page_range page) {
    return std::span(reinterpret_cast<std::atomic<std::uint64_t>*>(page.begin()), 3);
  };
  const auto content_of = [&](page_range page) {
    std::array<std::uint64_t, 3> content{};
    for (std::size_t i = 0; i < content.size(); ++i)
      content[i] = words_of(page)[i].load(std::memory_order_relaxed);
    return content;
  };
  const write_tracker tracker([&](page_range page) {
    const auto before = content_of(page);
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    if (before != content_of(page)) ++wrong;
  });
  const auto tracked = tracker.track(memory().range(), memory().page_size());
  std::atomic<bool> are_over{false};
  std::vector<std::jthread> writers;
  for (std::size_t each = 0; each < 3; ++each)
    writers.emplace_back([&, each] {
      std::mt19937 random(static_cast<unsigned>(each));
      while (!are_over)
        words_of(memory().page(random() % pages))[each].fetch_add(1, std::memory_order_relaxed);
    });
  for (int round = 0; round < 100; ++round) static_cast<void>(collected(tracked));
  are_over = true;
  writers.clear();
  EXPECT_EQ(wrong, 0);
}

TEST_P(page_before_a_write, is_not_told_while_the_callback_runs) {
  std::atomic<bool> is_called{false};
  std::atomic<bool> may_return{false};
  std::atomic<int> calls{0};
  const write_tracker tracker([&](page_range page) {
    if (page != memory().page(1)) return;
    ++calls;
    is_called = true;
    is_called.notify_all();
    may_return.wait(false);
  });
  const auto tracked = tracker.track(memory().range(), memory().page_size());
  std::vector<std::jthread> writers;
  for (std::size_t each = 0; each < 2; ++each)
    writers.emplace_back([&, each] { test::write_byte(memory().at(1) + 1 + each, 1); });
  is_called.wait(false);
  EXPECT_EQ(collected(tracked), runs{});
  write(memory().at(0) + memory().page_size() - 1, 0);
  may_return = true;
  may_return.notify_all();
  writers.clear();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(collected(tracked), runs{memory().page(0, 2)});
}

TEST_P(page_before_a_write, may_be_refused_and_the_application_goes_on) {
  const write_tracker tracker([](page_range) { throw std::range_error("no room for it"); });
  const auto tracked = tracker.track(memory().range(), memory().page_size());
  write(memory().at(1));
  write(memory().at(2));
  EXPECT_EQ(test::look(memory().at(3)), test::shows(0));
  for (int call = 0; call < 2; ++call) {
    EXPECT_THROW(static_cast<void>(collected(tracked)), std::range_error);
    EXPECT_THROW(tracked.peek([](page_range) {}), std::range_error);
  }
  EXPECT_EQ(test::look(memory().at(2)), test::shows(7));
}

// Without an answer to the callback's own fault it waits forever, which the watchdog ends.
TEST(page_that_is_dropped_while_it_is_shown, reads_as_zeroes_and_is_told) {
  UFFDPP_REQUIRE(test::can_track(tracker_engine::synchronous));
  const auto memory = mapping::anonymous(2 * page_size());
  std::atomic<int> seen{-1};
  const write_tracker tracker([&](page_range page) {
    ::madvise(reinterpret_cast<void*>(page.begin()), page.size(), MADV_DONTNEED);
    seen = shown_byte(page.begin());
  });
  write(memory.range().begin(), 1);
  const auto tracked = tracker.track(memory);
  write(memory.range().begin() + 1, 2);
  EXPECT_EQ(seen, 0);
  EXPECT_EQ(test::look(memory.range().begin() + 1), test::shows(2));
  const runs written{{memory.range().begin(), page_size()}};
  EXPECT_EQ(collected(tracked), written);
  // Once more, perhaps: the callback's answer wakes who writes, too, before the page is marked.
  while (!collected(tracked).empty()) std::this_thread::yield();
  write(memory.range().begin(), 3);
  EXPECT_EQ(collected(tracked), written);
}

TEST(write_tracker_whose_callback_throws, tracks_other_memory_still) {
  UFFDPP_REQUIRE(test::can_track(tracker_engine::synchronous));
  const auto one = mapping::anonymous(page_size());
  const auto other = mapping::anonymous(page_size());
  const write_tracker tracker([&](page_range page) {
    if (one.range().contains(page)) throw std::range_error("not this");
  });
  const auto tracked_one = tracker.track(one);
  const auto tracked_other = tracker.track(other);
  write(one.range().begin());
  write(other.range().begin());
  EXPECT_THROW(static_cast<void>(collected(tracked_one)), std::range_error);
  EXPECT_EQ(collected(tracked_other), runs{other.range()});
}

}  // namespace
}  // namespace uffd
