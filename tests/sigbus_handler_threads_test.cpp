// SPDX-License-Identifier: MIT
// Many threads that fault while ranges and handlers come and go.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/mapping.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

constexpr int rounds = 30;
constexpr std::size_t pages = 8;

// Whether every page from `begin` shows what fill_by_offset put there.
bool all_right(std::uintptr_t begin) {
  for (std::size_t page = 0; page < pages; ++page)
    if (test::read_byte(begin + page * page_size()) != static_cast<std::byte>(test::byte_of(page)))
      return false;
  return true;
}

std::uintptr_t begin_of(const served_region& region) { return page_range(region.bytes()).begin(); }

TEST(sigbus_handlers, serve_the_same_page_to_all_who_touch_it) {
  for (int round = 0; round < rounds; ++round) {
    test::serving_in_thread served(pages, test::fill_by_offset());
    std::atomic<int> wrong{0};
    {
      std::deque<test::background> readers;
      for (int i = 0; i < 4; ++i)
        readers.emplace_back([&] { wrong += all_right(served.at(0)) ? 0 : 1; });
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_FALSE(test::kept_error(served.handler()));
  }
}

// Each thread has a handler, and ranges that come and go, beside those of the others.
TEST(sigbus_handlers, come_and_go_while_others_serve) {
  std::atomic<int> wrong{0};
  const auto live = [&] {
    for (int round = 0; round < rounds; ++round) {
      sigbus_handler handler(async_signal_safe, test::fill_by_offset());
      for (int i = 0; i < 3; ++i) {
        const auto first = handler.serve(mapping::anonymous(pages * page_size()));
        const auto second = handler.serve(mapping::anonymous(pages * page_size()));
        if (!all_right(begin_of(second)) || !all_right(begin_of(first))) ++wrong;
      }
    }
  };
  {
    std::deque<test::background> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(live);
  }
  EXPECT_EQ(wrong, 0);
}

// Faults of one range while others begin and end.
TEST(sigbus_handlers, serve_on_while_ranges_begin_and_end) {
  test::serving_in_thread served(pages, test::fill_by_offset());
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0};
  std::deque<test::background> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      while (!over) {
        if (!all_right(served.at(0))) ++wrong;
        ::madvise(served.memory().bytes().data(), pages * page_size(), MADV_DONTNEED);
      }
    });
  for (int round = 0; round < rounds * 3; ++round) {
    const auto region = served.handler().serve(mapping::anonymous(pages * page_size()));
    if (!all_right(begin_of(region))) ++wrong;
  }
  over = true;
  readers.clear();
  EXPECT_EQ(wrong, 0);
}

// What was raised before the end and is handled after it finds the page that others have filled.
TEST(sigbus_handlers, lose_no_access_when_a_complete_range_ends) {
  for (int round = 0; round < rounds * 3; ++round) {
    test::serving_in_thread served(pages, test::fill_by_offset());
    std::atomic<int> wrong{0};
    std::atomic<int> begun{0};
    std::deque<test::background> readers;
    for (int i = 0; i < 3; ++i)
      readers.emplace_back([&] {
        ++begun;
        for (std::size_t page = 0; page < pages; ++page) {
          const auto seen = test::look(served.at(page));
          if (seen != test::shows(test::byte_of(page)) && seen != test::shows(0)) ++wrong;
        }
      });
    ASSERT_TRUE(test::eventually([&] { return begun == 3; }));
    served.region().complete();
    served.end_region();
    readers.clear();
    EXPECT_EQ(wrong, 0);
  }
}

// What was raised before an end may be handled at any moment of those that follow.
TEST(sigbus_handlers, lose_no_access_while_a_range_ends_and_begins_again) {
  const test::memory memory(test::memory_kind::anonymous, pages);
  sigbus_handler handler(async_signal_safe, test::fill_by_offset());
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0};
  std::deque<test::background> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      for (std::size_t page = 0; !over; page = (page + 1) % pages) {
        const auto seen = std::to_integer<int>(test::read_byte(memory.at(page)));
        if (seen != 0 && seen != test::byte_of(page)) ++wrong;
        ::madvise(memory.bytes().data() + page * page_size(), page_size(), MADV_DONTNEED);
      }
    });
  for (int round = 0; round < rounds * 20; ++round) {
    const auto region = handler.serve(memory.range(), {.on_end = close_policy::leave_zero});
    ::sched_yield();
  }
  over = true;
  readers.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(sigbus_handlers, end_a_range_only_after_its_callbacks) {
  std::atomic<bool> inside{false};
  std::atomic<bool> may_return{false};
  std::atomic<bool> has_returned{false};
  std::optional<test::serving_in_thread> served;
  served.emplace(2, [&](fault& raised) noexcept {
    inside = true;
    test::spin_until([&] { return may_return.load(); });
    const auto answer = test::fill_by_offset()(raised);
    has_returned = true;
    return answer;
  });
  test::toucher reader(served->at(1));
  ASSERT_TRUE(test::eventually([&] { return inside.load(); }));
  test::background ending([&] {
    served->end_region();
    EXPECT_TRUE(has_returned);
  });
  EXPECT_TRUE(ending.blocks());
  may_return = true;
  EXPECT_TRUE(ending.finishes());
  EXPECT_TRUE(test::was_shown(reader.saw(), 2));
}

TEST(sigbus_handlers, end_only_after_their_callbacks) {
  std::atomic<bool> inside{false};
  std::atomic<bool> may_return{false};
  std::optional<sigbus_handler> handler;
  handler.emplace(async_signal_safe, [&](fault& raised) noexcept {
    inside = true;
    test::spin_until([&] { return may_return.load(); });
    return test::fill_by_offset()(raised);
  });
  const test::memory memory(test::memory_kind::anonymous, 1);
  const auto region = handler->serve(memory.range());
  test::toucher reader(memory.at(0));
  ASSERT_TRUE(test::eventually([&] { return inside.load(); }));
  test::background ending([&] { handler.reset(); });
  EXPECT_TRUE(ending.blocks());
  may_return = true;
  EXPECT_TRUE(ending.finishes());
  EXPECT_EQ(reader.saw(), test::shows(1));
}

// A callback that lasts keeps nobody from making or ending ranges.
TEST(sigbus_handlers, serve_and_end_other_ranges_while_a_callback_runs) {
  std::atomic<bool> inside{false};
  std::atomic<bool> may_return{false};
  test::serving_in_thread slow(1, [&](fault& raised) noexcept {
    inside = true;
    test::spin_until([&] { return may_return.load(); });
    return raised.zeropage();
  });
  test::toucher reader(slow.at(0));
  ASSERT_TRUE(test::eventually([&] { return inside.load(); }));
  test::background other([&] {
    const auto region = slow.handler().serve(mapping::anonymous(page_size()));
    const test::serving_in_thread served(pages, test::fill_by_offset());
    EXPECT_TRUE(all_right(served.at(0)));
  });
  EXPECT_TRUE(other.finishes());
  may_return = true;
  EXPECT_EQ(reader.saw(), test::shows(0));
}

// Cancelled inside a signal handler, it would end the process.
TEST(sigbus_handlers, cancel_no_thread_while_they_serve_it) {
  const auto modes = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(test::available(test::memory_kind::huge, 1, modes));
  test::serving_in_thread served(
      test::memory_kind::huge, 1,
      [](fault& raised) noexcept {
        if (raised.kind() == fault_kind::write_protect) return raised.unprotect();
        return test::fill(raised, 1);
      },
      modes);
  ASSERT_EQ(test::look(served.at(0)), test::shows(1));
  std::atomic<bool> served_it{false};
  test::background writer([&] {
    int before = 0;
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    ::pthread_cancel(::pthread_self());
    ::pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    // Often enough for a closer look at the page.
    for (int i = 0; i < 300; ++i) {
      static_cast<void>(served.handler().on().write_protect(served.memory().range()));
      test::write_byte(served.at(0), 2);
    }
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    served_it = true;
  });
  EXPECT_TRUE(writer.finishes());
  EXPECT_TRUE(served_it);
}

// A thread that faults while its range ends waits for the end, and then takes what that has left.
TEST(sigbus_handlers, leave_a_thread_that_comes_too_late_the_signal) {
  std::atomic<bool> inside{false};
  std::atomic<bool> may_return{false};
  test::serving_in_thread served(2, [&](fault& raised) noexcept {
    inside = true;
    test::spin_until([&] { return may_return.load(); });
    return test::fill_by_offset()(raised);
  });
  test::toucher first(served.at(0));
  ASSERT_TRUE(test::eventually([&] { return inside.load(); }));
  test::background ending([&] { served.end_region(); });
  EXPECT_TRUE(ending.blocks());
  test::toucher late(served.at(1));
  EXPECT_FALSE(late.finishes(test::moment));
  may_return = true;
  EXPECT_EQ(first.saw(), test::shows(1));
  ASSERT_TRUE(late.saw());
  EXPECT_NE(late.saw()->signal, 0);
}

}  // namespace
}  // namespace uffd
