// SPDX-License-Identifier: MIT
// A pager of huge pages where the machine has none left: nobody else may want some meanwhile.
#include <gtest/gtest.h>

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

// What could still be reserved.
std::size_t unreserved_huge_pages() {
  std::size_t free = 0;
  std::size_t reserved = 0;
  std::ifstream file("/proc/meminfo");
  for (std::string key; file >> key;) {
    if (key == "HugePages_Free:") file >> free;
    if (key == "HugePages_Rsvd:") file >> reserved;
  }
  return free - reserved;
}

class empty_huge_page_pool : public test::every_pager {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(
        test::kernel_has(uffd::feature::missing_hugetlbfs | uffd::feature::wp_hugetlbfs_shmem));
    UFFDPP_REQUIRE(test::huge_pages(2));
  }

  // Two pages; then no more can be had.
  uffd::paged_memory map(std::chrono::milliseconds deadline) {
    pager_.emplace(GetParam());
    uffd::map_options options;
    options.writes = uffd::write_policy::keep;
    options.backing = uffd::page_backing::huge;
    options.huge_page = huge;
    options.deadline = deadline;
    auto memory = (*pager_)->map(std::ref(source_), options);
    others_.emplace(uffd::mapping::huge(unreserved_huge_pages() * huge, huge));
    return memory;
  }
  void refill() { others_.reset(); }

  std::size_t reads() const { return source_.reads(); }

 private:
  const test::counted_source source_{2 * huge};
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
  EXPECT_LT(reads(), 1000U) << "in four times a second";
  refill();
  EXPECT_FALSE(memory.prefetch(memory.bytes().subspan(huge)));
  EXPECT_EQ(test::first_wrong(memory.bytes().subspan(huge), huge), std::nullopt);
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
