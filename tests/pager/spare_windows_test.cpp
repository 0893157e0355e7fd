// SPDX-License-Identifier: MIT
#include "pager/spare_windows.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"
#include "uffd/pager/memory_budget.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

bool can_move(const handle& on) { return on.features().has(feature::move); }

TEST(spare_windows, are_lent_once_each) {
  const auto on = handle::open({.optional = feature::move});
  if (!can_move(on)) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MOVE";
  detail::spare_windows spare(on, 2, 16 * page);
  std::optional one(spare.borrow_target());
  const auto other = spare.borrow_target();
  ASSERT_TRUE(*one && other);
  EXPECT_FALSE(spare.borrow_target());
  EXPECT_EQ(one->memory().size(), 16 * page);
  EXPECT_TRUE(one->memory().is_aligned(16 * page));
  EXPECT_NE(one->memory().begin(), other.memory().begin());
  one.reset();
  EXPECT_TRUE(spare.borrow_target());
}

TEST(spare_windows, hold_what_is_moved_into_them_and_drop_what_is_left) {
  const auto on = handle::open({.optional = feature::move});
  if (!can_move(on)) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MOVE";
  detail::spare_windows spare(on, 1, 16 * page);
  auto memory = mapping::anonymous(16 * page);
  for (int round = 0; round < 2; ++round) {
    std::ranges::fill(memory.bytes(), std::byte{7});
    const auto loan = spare.borrow_target();
    ASSERT_TRUE(on.move(loan.memory().begin(), memory.range())) << "nothing was left there";
    EXPECT_EQ(test::look(loan.memory().begin()), test::shows(7));
  }
}

constexpr std::size_t budget_bytes = std::size_t{16} << 20;
constexpr std::size_t source_bytes = 2 * budget_bytes;

TEST(spare_windows, may_be_huge_pages) {
  const auto on = handle::open({.optional = feature::move});
  if (!can_move(on)) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MOVE";
  std::size_t huge = 0;
  std::ifstream("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") >> huge;
  if (huge == 0) GTEST_SKIP() << "kernel has no transparent huge pages";
  detail::spare_windows spare(on, 1, huge);
  const auto loan = spare.borrow_huge();
  ASSERT_TRUE(loan);
  EXPECT_TRUE(loan.memory().is_aligned(huge));
  test::write_byte(loan.memory().begin(), 7);
  detail::spare_windows small(on, 1, huge / 2);
  EXPECT_FALSE(small.borrow_huge());
}

// Looks at what the memory holds that it is to fill: the begin of a page of the source which it has
// not put there itself is one that has left. Called in signal handlers, too.
class looking_source {
 public:
  std::uint64_t size() const noexcept { return source_bytes; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    std::uint64_t found = 0;
    std::memcpy(&found, to.data(), sizeof found);
    const auto before = last_read_to(to.data()).exchange(test::source_word(offset));
    if (found != before && is_begin_of_a_page(found)) taken_over_.fetch_add(1);
    for (auto& each : to) each = test::source_byte(offset++);
    return {to.size(), {}};
  }
  int taken_over() const { return taken_over_; }

 private:
  struct place {
    std::atomic<const std::byte*> at{nullptr};
    std::atomic<std::uint64_t> word{0};
  };

  std::atomic<std::uint64_t>& last_read_to(const std::byte* at) const noexcept {
    for (auto& each : places_) {
      const std::byte* nobody = nullptr;
      if (each.at.compare_exchange_strong(nobody, at) || nobody == at) return each.word;
    }
    return places_.back().word;
  }
  static bool is_begin_of_a_page(std::uint64_t word) noexcept {
    for (std::uint64_t offset = 0; offset < source_bytes; offset += page)
      if (word == test::source_word(offset)) return true;
    return false;
  }

  mutable std::array<place, 64> places_;
  mutable std::atomic<int> taken_over_{0};
};

class moved_windows : public test::every_pager {
 protected:
  void SetUp() override {
    if (!can_move(handle::open({.optional = feature::move})))
      GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MOVE";
    options_.threads = 2;
    in_order_.expected = access_pattern::sequential;
  }

  memory_budget budget_{budget_bytes};
  pager_options options_{.budget = budget_};
  map_options in_order_;
};
UFFDPP_FOR_EVERY_PAGER(moved_windows);

// The offset of the first page that does not begin as in the source.
std::optional<std::size_t> first_wrong_page(std::span<const std::byte> bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += page)
    if (test::first_wrong(bytes.subspan(at, 8), at)) return at;
  return std::nullopt;
}

TEST_P(moved_windows, give_their_pages_to_those_that_come) {
  const looking_source source;
  const test::any_pager pager(GetParam(), options_);
  const auto memory = pager->map(std::ref(source), in_order_);
  EXPECT_EQ(first_wrong_page(memory.bytes()), std::nullopt);
  if (GetParam() == test::pager_kind::shared_handler)
    EXPECT_EQ(source.taken_over(), 0) << "it has no memory to spare";
  else
    EXPECT_GT(source.taken_over(), 10);
}

TEST_P(moved_windows, show_the_source_whoever_reads_in_whatever_order) {
  const test::any_pager pager(GetParam(), options_);
  std::vector<paged_memory> memories;
  for (int each = 0; each < 3; ++each)
    memories.push_back(pager->map(test::counted_source(budget_bytes + 100), in_order_));
  std::atomic<bool> is_right{true};
  std::atomic<std::size_t> most{0};
  {
    std::vector<std::jthread> threads;
    for (std::size_t number = 0; number < 4; ++number)
      threads.emplace_back([&, number] {
        for (std::size_t round = 0; round < 2; ++round) {
          const auto bytes = memories[(number + round) % 3].bytes();
          if (number % 2 == 0 && first_wrong_page(bytes)) is_right = false;
          for (std::size_t i = 0; i < 40; ++i) {
            const auto at = (i * 7919 + number * 31) % (bytes.size() / page) * page;
            if (test::first_wrong(bytes.subspan(at, 1), at)) is_right = false;
            const auto now = budget_.resident();
            if (now > most) most = now;
          }
        }
      });
  }
  EXPECT_TRUE(is_right);
  EXPECT_LE(most, budget_.limit());
}

TEST_P(moved_windows, can_not_be_written) {
  const test::any_pager pager(GetParam(), options_);
  const auto memory = pager->map(test::counted_source(source_bytes), in_order_);
  ASSERT_EQ(first_wrong_page(memory.bytes()), std::nullopt);
  const auto last = test::address_of(memory.bytes().back());
  EXPECT_EQ(test::try_write(last, 1), test::takes_sigsegv);
  EXPECT_EQ(test::try_write(test::address_of(memory.bytes()[0]), 1), test::takes_sigsegv);
  EXPECT_EQ(first_wrong_page(memory.bytes()), std::nullopt);
}

TEST_P(moved_windows, leave_what_is_pinned) {
  const test::any_pager pager(GetParam(), options_);
  const auto memory = pager->map(test::counted_source(source_bytes), in_order_);
  const auto pinned = memory.pin(memory.bytes().subspan(10 * page, page));
  EXPECT_EQ(first_wrong_page(memory.bytes()), std::nullopt);
  unsigned char is_there = 0;
  ASSERT_EQ(::mincore(pinned.bytes().data(), page, &is_there), 0);
  EXPECT_EQ(is_there & 1, 1);
}

TEST_P(moved_windows, come_to_memory_of_any_size) {
  const test::any_pager pager(GetParam(), options_);
  for (const std::size_t size :
       {budget_bytes + 1, budget_bytes + 3 * page + 5, budget_bytes - page}) {
    const auto memory = pager->map(test::counted_source(size), in_order_);
    EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
    const auto end = memory.bytes().size();
    for (auto at = end; at % page != 0; ++at) ASSERT_EQ(test::look_at(memory, at), test::shows(0));
  }
}

}  // namespace
}  // namespace uffd
