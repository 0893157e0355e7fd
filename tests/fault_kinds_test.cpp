// SPDX-License-Identifier: MIT
// Faults on pages that are there: in the page cache alone, or protected.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <optional>

#include "support/awaited.hpp"
#include "support/continue_protects.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/told.hpp"
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

// Somebody else fills it through the alias, and has not come to its end.
TEST_P(minor_fault_on, copy_shows_no_page_that_is_still_being_written) {
  UFFDPP_REQUIRE(test::available(GetParam(), 1, modes));
  std::optional<mapping> alias;
  std::atomic<bool> is_told{false};
  test::signal ready;
  test::serving served(
      GetParam(), 1,
      [&](fault& raised) {
        EXPECT_TRUE(ready.comes());
        const auto bytes = alias->bytes();
        if (raised.kind() == fault_kind::missing) {
          std::memset(bytes.data(), 5, bytes.size() / 2);
          return test::fill(raised, 3);
        }
        is_told = true;
        std::memset(bytes.data(), 8, bytes.size());
        return raised.continue_();
      },
      modes);
  alias.emplace(served.memory().mapping().alias());
  ready.set();
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(8));
  EXPECT_TRUE(is_told);
}

// However often COPY finds a page of the page cache, and another fault maps it.
TEST_P(minor_fault_on, copy_of_what_an_alias_wrote_fails_no_page_that_is_continued) {
  UFFDPP_REQUIRE(test::available(GetParam(), 1, modes));
  std::optional<mapping> alias;
  test::signal ready;
  test::serving served(
      GetParam(), 1,
      [&](fault& raised) {
        EXPECT_TRUE(ready.comes());
        if (raised.kind() == fault_kind::minor) return raised.continue_();
        test::write_byte(alias->range().begin(), 5);
        return test::fill(raised, 3);
      },
      modes);
  alias.emplace(served.memory().mapping().alias());
  ready.set();
  for (int i = 0; i < 600; ++i) {
    ASSERT_EQ(test::look(served.at(0)), test::shows(5)) << i;
    ASSERT_EQ(::madvise(alias->bytes().data(), alias->bytes().size(), MADV_REMOVE), 0);
  }
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

// Every bit of each page is turned through the alias before it is mapped.
TEST_P(minor_fault_on, each_page_is_told_and_may_be_changed_before_it_is_continued) {
  constexpr std::size_t pages = 4;
  for (const bool protects : {false, true}) {
    auto wanted = modes;
    if (protects) wanted |= register_mode::write_protect;
    UFFDPP_REQUIRE(test::available(GetParam(), pages, wanted));
    if (protects) UFFDPP_REQUIRE(test::continue_protects());
    std::optional<mapping> alias;
    test::signal ready;
    test::told_pages minor;
    test::told_pages permitted;
    std::atomic<int> wrong{0};
    test::serving served(
        GetParam(), pages,
        [&](fault& raised) {
          if (raised.kind() == fault_kind::write_protect) {
            permitted.add(raised.offset());
            return raised.unprotect();
          }
          if (raised.kind() != fault_kind::minor) ++wrong;
          minor.add(raised.offset());
          EXPECT_TRUE(ready.comes());
          const auto bytes = alias->bytes().subspan(raised.offset(), raised.page().size());
          for (auto& byte : bytes) byte = std::byte{0xF0};
          auto mode = flags<fill_mode>();
          if (protects) mode = fill_mode::write_protect;
          const auto answer = raised.continue_(mode);
          const auto again = raised.on().continue_(raised.page(), mode);
          if (again.error() != condition::already_present || again.bytes != 0) ++wrong;
          return answer;
        },
        wanted);
    alias.emplace(served.memory().mapping().alias());
    std::memset(alias->bytes().data(), 0x0F, alias->bytes().size());
    ready.set();
    const auto page_size = test::page_size_of(GetParam());
    for (std::size_t i = 0; i < pages; ++i) {
      EXPECT_EQ(test::toucher(served.at(i)).saw(), test::shows(0xF0));
      EXPECT_EQ(test::look(served.at(i) + page_size - 1), test::shows(0xF0));
      EXPECT_EQ(test::toucher(served.at(i), 9).saw(), test::shows(9));
    }
    EXPECT_EQ(minor.count(), pages);
    EXPECT_EQ(permitted.count(), protects ? pages : 0);
    EXPECT_EQ(wrong, 0);
  }
}

// The kernel has them for a private view of a file, too.
TEST(minor_fault_on_a_private_view, continue_shows_the_file_which_no_write_changes) {
  constexpr auto kind = test::memory_kind::private_file;
  UFFDPP_REQUIRE(test::available(kind, 2, register_mode::missing | register_mode::minor));
  std::atomic<int> missing{0};
  test::serving served(
      kind, 2,
      [&](fault& raised) {
        if (raised.kind() == fault_kind::minor) return raised.continue_();
        ++missing;
        return test::fill(raised, 3);
      },
      register_mode::missing | register_mode::minor);
  const auto file = served.memory().mapping().alias();
  test::write_byte(file.range().begin(), 7);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(7));
  EXPECT_EQ(missing, 0);
  EXPECT_EQ(test::toucher(served.at(0), 9).saw(), test::shows(9));
  EXPECT_EQ(test::look(file.range().begin()), test::shows(7));
  EXPECT_EQ(test::toucher(served.at(1)).saw(), test::shows(3));
  EXPECT_EQ(missing, 1);
  EXPECT_EQ(test::look(file.range().begin() + page_size()), test::shows(0));
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
