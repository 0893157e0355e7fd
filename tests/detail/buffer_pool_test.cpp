// SPDX-License-Identifier: MIT
#include "detail/buffer_pool.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <set>

#include "support/background.hpp"
#include "support/forked.hpp"
#include "support/refusal.hpp"
#include "support/sanitizers.hpp"
#include "support/sight.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {
namespace {

TEST(buffer_pool, lends_each_buffer_to_one_at_a_time) {
  buffer_pool pool(3, page_size());
  std::set<const std::byte*> lent;
  std::deque<buffer_pool::loan> loans;
  for (int i = 0; i < 3; ++i) {
    loans.push_back(pool.borrow());
    ASSERT_TRUE(loans.back());
    EXPECT_EQ(loans.back().bytes().size(), page_size());
    lent.insert(loans.back().bytes().data());
  }
  EXPECT_EQ(lent.size(), 3U);
  loans.pop_front();
  const auto again = pool.borrow();
  EXPECT_TRUE(lent.contains(again.bytes().data()));
}

TEST(buffer_pool, rounds_up_to_whole_pages) {
  buffer_pool pool(2, page_size() + 1);
  EXPECT_EQ(pool.buffer_size(), 2 * page_size());
  EXPECT_EQ(pool.borrow().bytes().size(), 2 * page_size());
}

TEST(buffer_pool, makes_another_when_all_are_lent_and_keeps_it) {
  buffer_pool pool(1, page_size());
  const auto first = pool.borrow();
  const std::byte* made = nullptr;
  {
    const auto second = pool.borrow();
    ASSERT_TRUE(second);
    made = second.bytes().data();
    test::write_byte(page_range(second.bytes()).end() - 1, 1);
  }
  const auto third = pool.borrow();
  EXPECT_EQ(third.bytes().data(), made);
}

TEST(buffer_pool, lends_none_where_memory_is_short) {
  if (test::address_sanitizer || test::thread_sanitizer)
    GTEST_SKIP() << "a sanitizer has no limit on its addresses";
  EXPECT_EQ(test::in_child([] {
              buffer_pool pool(1, std::size_t{64} << 20);
              const auto first = pool.borrow();
              const rlimit none{1, 1};
              if (::setrlimit(RLIMIT_AS, &none) != 0) return 2;
              return pool.borrow() ? 1 : 0;
            }),
            test::exits_with(0));
}

TEST(buffer_pool, keeps_its_buffers_from_children) {
  buffer_pool pool(1, page_size());
  const auto first = pool.borrow();
  const auto second = pool.borrow();
  for (const auto* loan : {&first, &second}) {
    const auto at = page_range(loan->bytes()).begin();
    EXPECT_EQ(test::in_child([=] { test::read_byte(at); }), test::dies_of(SIGSEGV));
  }
}

TEST(buffer_pool, ends_quietly_in_a_child) {
  std::optional<buffer_pool> pool(std::in_place, 1, page_size());
  {
    const auto first = pool->borrow();
    const auto second = pool->borrow();
  }
  EXPECT_EQ(test::in_child([&] { pool.reset(); }), test::exits_with(0));
}

TEST(buffer_pool, refuses_to_have_none) {
  EXPECT_EQ(test::thrown([] { buffer_pool(0, page_size()); }), EINVAL);
  EXPECT_EQ(test::thrown([] { buffer_pool(1, 0); }), EINVAL);
  constexpr auto half = std::numeric_limits<std::size_t>::max() / 2 + 1;
  EXPECT_EQ(test::thrown([] { buffer_pool(4, half); }), EINVAL);
}

// Each holder's mark is still there when it gives the buffer back.
TEST(buffer_pool, is_shared_by_threads) {
  buffer_pool pool(2, page_size());
  std::atomic<int> wrong{0};
  std::deque<test::background> threads;
  for (int id = 1; id <= 4; ++id)
    threads.emplace_back([&, id] {
      for (int i = 0; i < 2000; ++i) {
        const auto loan = pool.borrow();
        loan.bytes().front() = static_cast<std::byte>(id);
        loan.bytes().back() = static_cast<std::byte>(id);
        if (loan.bytes().front() != static_cast<std::byte>(id)) ++wrong;
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace uffd::detail
