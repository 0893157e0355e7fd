// SPDX-License-Identifier: MIT
#include "uffd/pager/memory_budget.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/sight.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

map_options with(write_policy writes) {
  map_options options;
  options.writes = writes;
  return options;
}

// Bytes of `memory` that are there, as the kernel sees it.
std::size_t resident(const paged_memory& memory) {
  const auto bytes = memory.bytes();
  const auto pages = (bytes.size() + page - 1) / page;
  std::vector<unsigned char> there(pages);
  if (::mincore(const_cast<std::byte*>(bytes.data()), bytes.size(), there.data()) != 0) return 0;
  return page * static_cast<std::size_t>(std::count_if(there.begin(), there.end(),
                                                       [](auto each) { return (each & 1) != 0; }));
}

class memory_budget_of : public test::every_pager {
 protected:
  static pager_options within(const memory_budget& budget) {
    pager_options options;
    options.budget = budget;
    options.threads = 2;
    return options;
  }
};
UFFDPP_FOR_EVERY_PAGER(memory_budget_of);

TEST_P(memory_budget_of, is_never_exceeded) {
  const memory_budget budget(256 * page);
  const test::any_pager pager(GetParam(), within(budget));
  const auto memory = pager->map(test::counted_source(2048 * page));
  std::size_t most = 0;
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const auto offset = random() % memory.bytes().size();
    ASSERT_EQ(test::look_at(memory, offset), test::shows_source(offset));
    // By who touches: to others a page that goes while another comes would count with it.
    if (i % 50 == 0) most = std::max(most, resident(memory));
  }
  EXPECT_LE(most, budget.limit());
  EXPECT_GT(most, budget.limit() / 2);
  EXPECT_LE(budget.resident(), budget.limit());
  EXPECT_GT(memory.statistics().pages_evicted, 1000U);
}

TEST_P(memory_budget_of, lets_more_be_read_in_order_than_fits) {
  const memory_budget budget(512 * page);
  const test::any_pager pager(GetParam(), within(budget));
  const test::counted_source source(4096 * page);
  const auto memory = pager->map(std::ref(source));
  for (int round = 0; round < 2; ++round)
    ASSERT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_LT(source.bytes_read(), 2 * source.size() + source.size() / 8);
}

TEST_P(memory_budget_of, writes_back_what_is_evicted) {
  test::kept_source source(1024 * page);
  const memory_budget budget(128 * page);
  const test::any_pager pager(GetParam(), within(budget));
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  const auto words = memory.writable_as<std::uint64_t>();
  const auto per_page = page / sizeof(std::uint64_t);
  std::vector<std::uint64_t> expected(1024);
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) {
    const auto number = random() % expected.size();
    auto& word = words[number * per_page + 3];
    const auto before =
        expected[number] == 0 ? test::source_word(number * page + 24) : expected[number];
    ASSERT_EQ(word, before) << "page " << number << ", access " << i;
    if (random() % 2 == 0) continue;
    expected[number] = random() | 1U;
    word = expected[number];
  }
  ASSERT_FALSE(memory.flush());
  for (std::size_t number = 0; number < expected.size(); ++number) {
    if (expected[number] == 0) continue;
    ASSERT_EQ(source.word_at(number * page + 24), expected[number]) << number;
  }
  EXPECT_GT(memory.statistics().pages_evicted, 1000U);
}

// Each thread counts in words of its own, on pages that all write.
TEST_P(memory_budget_of, loses_no_write_of_several_threads) {
  constexpr std::size_t threads = 3;
  constexpr std::size_t pages = 256;
  test::kept_source source(pages * page);
  const memory_budget budget(64 * page);
  const test::any_pager pager(GetParam(), within(budget));
  std::vector<std::vector<std::uint64_t>> counted(threads, std::vector<std::uint64_t>(pages));
  {
    const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
    const auto words = memory.writable_as<std::uint64_t>();
    std::vector<std::jthread> writers;
    for (std::size_t each = 0; each < threads; ++each)
      writers.emplace_back([&, each] {
        std::mt19937_64 random(each);
        for (int i = 0; i < 10'000; ++i) {
          const auto number = random() % pages;
          ++words[number * (page / sizeof(std::uint64_t)) + each];
          ++counted[each][number];
          if (i % 1000 == 0) {
            EXPECT_FALSE(memory.flush());
          }
        }
      });
  }
  for (std::size_t each = 0; each < threads; ++each)
    for (std::size_t number = 0; number < pages; ++number) {
      const auto offset = number * page + each * sizeof(std::uint64_t);
      ASSERT_EQ(source.word_at(offset) - test::source_word(offset), counted[each][number])
          << "thread " << each << ", page " << number;
    }
}

TEST_P(memory_budget_of, is_given_back_at_the_end) {
  const memory_budget budget(1024 * page);
  {
    const test::any_pager pager(GetParam(), within(budget));
    const auto before = budget.resident();
    {
      const auto memory = pager->map(test::counted_source(100 * page));
      ASSERT_FALSE(memory.prefetch(memory.bytes()));
      EXPECT_EQ(budget.resident(), before + 100 * page);
    }
    EXPECT_EQ(budget.resident(), before);
  }
  EXPECT_EQ(budget.resident(), 0U);
}

TEST_P(memory_budget_of, is_shared) {
  const memory_budget budget(128 * page);
  const test::any_pager one(GetParam(), within(budget));
  const test::any_pager other(GetParam(), within(budget));
  std::vector<paged_memory> all;
  for (int i = 0; i < 4; ++i)
    all.push_back((i % 2 == 0 ? one : other)->map(test::counted_source(100 * page)));
  for (int round = 0; round < 3; ++round)
    for (const auto& memory : all) ASSERT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  std::size_t sum = 0;
  for (const auto& memory : all) sum += resident(memory);
  EXPECT_LE(sum, budget.limit());
}

TEST_P(memory_budget_of, can_become_less) {
  memory_budget budget;
  const test::any_pager pager(GetParam(), within(budget));
  const auto memory = pager->map(test::counted_source(1000 * page));
  ASSERT_FALSE(memory.prefetch(memory.bytes()));
  EXPECT_EQ(resident(memory), 1000 * page);
  const auto buffers = budget.resident() - 1000 * page;
  budget.set_limit(buffers + 200 * page);
  EXPECT_TRUE(test::eventually([&] { return budget.resident() <= budget.limit(); }));
  EXPECT_LE(resident(memory), 200 * page);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST_P(memory_budget_of, spares_what_is_pinned) {
  const memory_budget budget(128 * page);
  const test::any_pager pager(GetParam(), within(budget));
  const test::counted_source source(1000 * page);
  const auto memory = pager->map(std::ref(source));
  const auto part = memory.bytes().subspan(500 * page, 10 * page);
  const auto pinned = memory.pin(part);
  ASSERT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  std::vector<unsigned char> there(10);
  ASSERT_EQ(::mincore(pinned.bytes().data(), part.size(), there.data()), 0);
  EXPECT_EQ(std::count(there.begin(), there.end(), 1), 10);
}

// Whoever waits for room that can't be made gets a signal at the deadline, not a hang.
TEST_P(memory_budget_of, gives_sigbus_where_nothing_can_be_evicted) {
  const memory_budget budget(64 * page);
  const test::any_pager pager(GetParam(), within(budget));
  auto options = with(write_policy::keep);
  options.deadline = std::chrono::milliseconds(50);
  const auto memory = pager->map(test::counted_source(100 * page), options);
  const auto write = [&](std::size_t number) {
    return test::try_write(test::address_of(memory.bytes()[number * page]), 1);
  };
  std::size_t number = 0;
  while (number < 100 && write(number) == test::shows(1)) ++number;
  EXPECT_LE(number, 64U);
  EXPECT_GT(number, 16U);
  EXPECT_EQ(write(number + 1), test::takes_sigbus);
  EXPECT_EQ(test::look_at(memory, 0), test::shows(1)) << "nothing is lost";
}

TEST_P(memory_budget_of, keeps_dirty_pages_whose_source_fails) {
  test::kept_source source(1000 * page);
  std::atomic<bool> fails{true};
  source.writing_fails = [&] {
    return fails ? std::make_error_code(std::errc::io_error) : std::error_code();
  };
  const memory_budget budget(128 * page);
  const test::any_pager pager(GetParam(), within(budget));
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  const auto words = memory.writable_as<std::uint64_t>();
  for (std::size_t number = 0; number < 20; ++number) words[number * (page / 8)] = number;
  for (std::size_t number = 20; number < 1000; ++number)
    ASSERT_EQ(test::look_at(memory, number * page), test::shows_source(number * page));
  for (std::size_t number = 0; number < 20; ++number) EXPECT_EQ(words[number * (page / 8)], number);
  EXPECT_EQ(memory.flush(), std::errc::io_error);
  fails = false;
  EXPECT_TRUE(test::eventually([&] { return !memory.flush(); }))
      << "a write that was failing in the background meanwhile is told, too";
  for (std::size_t number = 0; number < 20; ++number)
    EXPECT_EQ(source.word_at(number * page), number);
}

// Those that come back soon are evicted last: a few pages are touched far more often than the rest.
TEST_P(memory_budget_of, keeps_what_is_used_often) {
  const memory_budget budget(160 * page);
  const test::any_pager pager(GetParam(), within(budget));
  const auto memory = pager->map(test::counted_source(1000 * page));
  memory.advise(access_pattern::random);
  std::mt19937_64 random(3);
  const auto touch = [&](std::size_t number) {
    static_cast<void>(test::look_at(memory, number * page));
  };
  const auto some = [&](std::size_t rounds) {
    for (std::size_t i = 0; i < rounds; ++i)
      touch(random() % 4 != 0 ? random() % 32 : random() % 1000);
  };
  some(10'000);
  const auto before = memory.statistics().faults;
  some(10'000);
  // By chance alone every fourth access is to one of 1000 pages, of which at most 160 are there.
  EXPECT_LT(memory.statistics().faults - before, 4000U);
}

}  // namespace
}  // namespace uffd
