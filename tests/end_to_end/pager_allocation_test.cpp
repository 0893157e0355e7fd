// SPDX-License-Identifier: MIT
// Faults of paged memory allocate nothing: neither while pages come, nor while others are written
// back and leave for them.
#include "support/allocations.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/asleep.hpp"
#include "support/awaited.hpp"
#include "support/paging.hpp"
#include "support/requires.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch_file.hpp"
#include "support/sight.hpp"
#include "uffd/pager/file_source.hpp"
#include "uffd/pager/memory_source.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();
constexpr std::size_t pages = 1024;
constexpr int accesses = 10'000;

map_options with(write_policy writes) {
  map_options options;
  options.writes = writes;
  return options;
}

class pager_allocation_of : public test::every_pager {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::counted_allocations()); }

  // A quarter fits.
  test::any_pager make_pager() const {
    pager_options how;
    how.budget = memory_budget(pages / 4 * page);
    how.threads = 2;
    return test::any_pager(GetParam(), how);
  }

  // At random, and in order for a while.
  static void touch_some(const paged_memory& memory, bool writes, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto begin = test::address_of(memory.bytes()[0]);
    for (int i = 0; i < accesses; ++i) {
      const auto at = begin + (i % 4 == 0 ? random() : static_cast<std::size_t>(i)) % pages * page;
      if (writes && random() % 2 == 0)
        test::write_byte(at, i & 0x7f);
      else
        static_cast<void>(test::read_byte(at));
    }
  }

  static void expect_none(const paged_memory& memory, bool writes) {
    // What is made but once, and threads that begin.
    touch_some(memory, writes, 1);
    EXPECT_TRUE(test::eventually(test::others_sleep));
    const auto before = memory.statistics();
    const auto allocations = test::allocations();
    touch_some(memory, writes, 2);
    EXPECT_EQ(test::allocations() - allocations, 0);
    const auto after = memory.statistics();
    EXPECT_GT(after.faults - before.faults, 2000U);
    EXPECT_GT(after.pages_evicted - before.pages_evicted, 2000U);
    if (writes) {
      EXPECT_GT(after.pages_written - before.pages_written, 1000U);
    }
  }
};
UFFDPP_FOR_EVERY_PAGER(pager_allocation_of);

TEST_P(pager_allocation_of, is_not_needed_to_read_memory) {
  const std::vector<std::byte> source(pages * page);
  const auto pager = make_pager();
  expect_none(pager->map(memory_source(std::span(source))), false);
}

TEST_P(pager_allocation_of, is_not_needed_to_read_a_file) {
  const test::scratch_file file(std::string(pages * page - 100, 'a'));
  const auto pager = make_pager();
  expect_none(pager->map(file_source(file.path())), false);
}

TEST_P(pager_allocation_of, is_not_needed_to_write_back_to_a_file) {
  const test::scratch_file file(std::string(pages * page, 'a'));
  const auto pager = make_pager();
  expect_none(
      pager->map(file_source(file.path(), file_access::read_write), with(write_policy::write_back)),
      true);
}

TEST_P(pager_allocation_of, is_not_needed_to_fail) {
  if (test::address_sanitizer) GTEST_SKIP() << "AddressSanitizer allocates where a signal is left";
  const test::scratch_file file(std::string(2 * page, 'a'));
  file_source source(file.path());
  file.write("");
  const auto pager = make_pager();
  const auto memory = pager->map(std::move(source));
  EXPECT_EQ(test::look_at(memory, 0), test::takes_sigbus);
  EXPECT_TRUE(test::eventually(test::others_sleep));
  const auto allocations = test::allocations();
  EXPECT_EQ(test::look_at(memory, page), test::takes_sigbus);
  EXPECT_EQ(test::allocations() - allocations, 0);
}

}  // namespace
}  // namespace uffd
