// SPDX-License-Identifier: MIT
// A pager of huge pages where the machine has none left: nobody else may want some meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <system_error>

#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/uffd.hpp"

namespace {

namespace test = uffd::test;

constexpr std::size_t huge = test::huge_page_size;

std::size_t number_in(const std::string& file) {
  std::size_t number = 0;
  std::ifstream(file) >> number;
  return number;
}
std::size_t huge_pages_that_are(const std::string& what) {
  return number_in("/sys/kernel/mm/hugepages/hugepages-2048kB/" + what + "_hugepages");
}

class empty_huge_page_pool : public test::every_pager {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(
        test::kernel_has(uffd::feature::missing_hugetlbfs | uffd::feature::wp_hugetlbfs_shmem));
    UFFDPP_REQUIRE(test::huge_pages(2));
    if (huge_pages_that_are("nr_overcommit") != 0)
      GTEST_SKIP() << "the pool grows (vm.nr_overcommit_hugepages)";
  }

  // Memory for which the pool has no pages but so many.
  uffd::paged_memory map(std::chrono::milliseconds deadline, std::size_t left = 0,
                         uffd::write_policy writes = uffd::write_policy::keep) {
    source_.reading_fails = [this] {
      ++reads_;
      return std::error_code();
    };
    pager_.emplace(GetParam());
    uffd::map_options options;
    options.writes = writes;
    options.expected = uffd::access_pattern::random;
    options.backing = uffd::page_backing::huge;
    options.huge_page = huge;
    options.deadline = deadline;
    auto memory = (*pager_)->map(std::ref(source_), options);
    const auto unreserved = huge_pages_that_are("free") - huge_pages_that_are("resv");
    if (unreserved > left) others_.emplace(uffd::mapping::huge((unreserved - left) * huge, huge));
    return memory;
  }
  void refill() { others_.reset(); }

  const test::kept_source& source() const { return source_; }
  int reads() const { return reads_; }

 private:
  std::atomic<int> reads_{0};
  test::kept_source source_{4 * huge};
  std::optional<uffd::mapping> others_;
  std::optional<test::any_pager> pager_;
};
UFFDPP_FOR_EVERY_PAGER(empty_huge_page_pool);

TEST_P(empty_huge_page_pool, is_sigbus_for_who_touches_and_ENOMEM_for_who_asks) {
  using std::chrono_literals::operator""s;
  const auto memory = map(1s);  // or a slow build would not have read the page by then
  EXPECT_EQ(memory.prefetch(memory.bytes().first(1)), std::errc::not_enough_memory);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.pin(memory.bytes().first(1))); }), ENOMEM);
  EXPECT_EQ(test::look_at(memory, 0), test::takes_sigbus);
  EXPECT_EQ(test::try_write(test::address_of(memory.bytes()[1]), 5), test::takes_sigbus);
  EXPECT_LT(reads(), 1000) << "in four times a second";
  refill();
  EXPECT_FALSE(memory.prefetch(memory.bytes().subspan(huge, huge)));
  EXPECT_EQ(test::first_wrong(memory.bytes().subspan(huge, huge), huge), std::nullopt);
}

TEST_P(empty_huge_page_pool, makes_one_of_the_same_budget_leave) {
  using std::chrono_literals::operator""s;
  const auto memory = map(30s, 2);
  for (int round = 0; round < 2; ++round)
    for (std::size_t at = 0; at < 4 * huge; at += huge)
      EXPECT_EQ(test::look_at(memory, at + 9), test::shows_source(at + 9));
  EXPECT_GE(memory.statistics().pages_evicted, 4U);
  EXPECT_LE(reads(), 16) << "what was read is not thrown away each time";
}

TEST_P(empty_huge_page_pool, makes_one_of_the_same_budget_leave_that_was_written) {
  using std::chrono_literals::operator""s;
  const auto memory = map(30s, 2, uffd::write_policy::write_back);
  for (std::size_t at = 0; at < 4 * huge; at += huge)
    EXPECT_EQ(test::try_write(test::address_of(memory.bytes()[at]), 7), test::shows(7));
  EXPECT_FALSE(memory.flush());
  for (std::size_t at = 0; at < 4 * huge; at += huge)
    EXPECT_EQ(source().at(at), std::byte{7}) << at;
}

TEST_P(empty_huge_page_pool, is_waited_for_until_the_deadline) {
  using std::chrono_literals::operator""s;
  using std::chrono_literals::operator""ms;
  const auto memory = map(30s);
  test::sight seen;
  test::background touching([&] { seen = test::look_at(memory, 8); });
  EXPECT_FALSE(touching.finishes(100ms));
  refill();
  EXPECT_TRUE(touching.finishes());
  EXPECT_EQ(seen, test::shows_source(8));
}

}  // namespace
