// SPDX-License-Identifier: MIT
// Faults on pages that are there: in the page cache alone, or protected.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "support/awaited.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

class minor_fault_on : public testing::TestWithParam<test::memory_kind> {
 protected:
  static constexpr auto modes = register_mode::missing | register_mode::minor;
};
UFFDPP_ON_KINDS(minor_fault_on, test::shared_kinds);

TEST_P(minor_fault_on, continue_maps_what_an_alias_wrote) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2, modes));
  std::atomic<int> missing{0};
  test::serving served(
      GetParam(), 2,
      [&](fault& raised) {
        if (raised.kind() == fault_kind::minor) return raised.continue_();
        ++missing;
        return test::fill(raised, 3);
      },
      modes);
  const auto alias = served.memory().mapping().alias();
  test::write_byte(alias.range().begin(), 7);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(7));
  EXPECT_EQ(missing, 0);
  EXPECT_EQ(test::toucher(served.at(1)).saw(), test::shows(3));
  EXPECT_EQ(missing, 1);
}

TEST_P(minor_fault_on, a_missing_page_may_be_filled_through_an_alias_and_continued) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2, modes));
  std::optional<mapping> alias;
  test::signal ready;
  test::serving served(
      GetParam(), 2,
      [&](fault& raised) {
        EXPECT_TRUE(ready.comes());
        test::write_byte(alias->range().begin() + raised.offset(), 8);
        return raised.continue_();
      },
      modes);
  alias.emplace(served.memory().mapping().alias());
  ready.set();
  EXPECT_EQ(test::toucher(served.at(1)).saw(), test::shows(8));
}

class protected_page_on : public testing::TestWithParam<test::memory_kind> {
 protected:
  static constexpr auto modes = register_mode::missing | register_mode::write_protect;
};
UFFDPP_ON_EVERY_KIND(protected_page_on);

TEST_P(protected_page_on, unprotect_lets_a_write_through_that_was_told) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2, modes));
  std::atomic<int> told{0};
  test::serving served(
      GetParam(), 2,
      [&](fault& raised) {
        if (raised.kind() == fault_kind::missing) return test::fill_by_offset()(raised);
        EXPECT_EQ(raised.kind(), fault_kind::write_protect);
        EXPECT_TRUE(raised.is_write());
        EXPECT_EQ(raised.offset(), test::page_size_of(GetParam()));
        ++told;
        return raised.unprotect();
      },
      modes);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(1));
  EXPECT_EQ(test::toucher(served.at(1)).saw(), test::shows(2));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  EXPECT_EQ(test::look(served.at(1)), test::shows(2)) << "reading needs no permission";
  EXPECT_EQ(test::toucher(served.at(1), 9).saw(), test::shows(9));
  EXPECT_EQ(test::look(served.at(1)), test::shows(9));
  EXPECT_EQ(told, 1);
}

TEST_P(protected_page_on, copy_may_protect_from_the_start) {
  UFFDPP_REQUIRE(test::available(GetParam(), 1, modes));
  std::atomic<int> told{0};
  test::serving served(
      GetParam(), 1,
      [&](fault& raised) {
        if (raised.kind() == fault_kind::missing)
          return raised.copy_buffer(0, fill_mode::write_protect);
        ++told;
        return raised.unprotect();
      },
      modes);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(0));
  EXPECT_EQ(told, 0);
  EXPECT_EQ(test::toucher(served.at(0), 9).saw(), test::shows(9));
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace uffd
