// SPDX-License-Identifier: MIT
#include "uffd/mapping.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/page_flags.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;
using test::thrown;

static_assert(!std::is_default_constructible_v<mapping>);
static_assert(!std::is_copy_constructible_v<mapping>);
static_assert(!std::is_copy_assignable_v<mapping>);
static_assert(std::is_nothrow_move_constructible_v<mapping>);
static_assert(std::is_nothrow_move_assignable_v<mapping>);

constexpr auto most = std::numeric_limits<std::size_t>::max();

bool is_mapped(page_range range) {
  unsigned char there = 0;
  return ::mincore(reinterpret_cast<void*>(range.begin()), 1, &there) == 0;
}

TEST(mapping, anonymous_is_private_zeroes) {
  const auto memory = mapping::anonymous(2 * page_size());
  EXPECT_EQ(memory.bytes().size(), 2 * page_size());
  EXPECT_EQ(memory.range(), page_range(memory.bytes()));
  EXPECT_EQ(memory.page_size(), page_size());
  EXPECT_EQ(memory.file(), -1);
  EXPECT_EQ(look(memory.range().begin()), shows(0));
  EXPECT_EQ(test::in_child([&] { test::write_byte(memory.range().begin(), 7); }),
            test::exits_with(0));
  EXPECT_EQ(look(memory.range().begin()), shows(0));
}

TEST(mapping, shared_is_seen_by_children) {
  const auto memory = mapping::shared(page_size());
  EXPECT_GE(memory.file(), 0);
  EXPECT_EQ(test::in_child([&] { test::write_byte(memory.range().begin(), 7); }),
            test::exits_with(0));
  EXPECT_EQ(look(memory.range().begin()), shows(7));
}

TEST(mapping, size_is_rounded_up_to_whole_pages) {
  EXPECT_EQ(mapping::anonymous(1).bytes().size(), page_size());
  EXPECT_EQ(mapping::anonymous(page_size() + 1).bytes().size(), 2 * page_size());
  const auto memory = mapping::shared(1);
  struct stat file {};
  ASSERT_EQ(::fstat(memory.file(), &file), 0);
  EXPECT_EQ(file.st_size, static_cast<off_t>(page_size()));
}

TEST(mapping, of_no_bytes_is_EINVAL) {
  EXPECT_EQ(thrown([] { mapping::anonymous(0); }), EINVAL);
  EXPECT_EQ(thrown([] { mapping::shared(0); }), EINVAL);
}

TEST(mapping, of_too_many_bytes_is_EINVAL_ENOMEM_or_EFBIG_and_leaks_nothing) {
  const auto before = test::open_descriptors();
  EXPECT_EQ(thrown([] { mapping::anonymous(most); }), EINVAL);
  EXPECT_EQ(thrown([] { mapping::shared(most); }), EINVAL);
  EXPECT_EQ(thrown([] { mapping::anonymous(most / 2); }), ENOMEM);
  const int number = thrown([] { mapping::shared(most / 2); });
  EXPECT_TRUE(number == ENOMEM || number == EFBIG || number == EINVAL) << number;
  EXPECT_EQ(test::open_descriptors(), before);
}

// Address space, not memory: demand-paged files may be larger than both memory and swap.
TEST(mapping, anonymous_may_be_larger_than_memory) {
  const auto physical = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * page_size();
  const auto memory = mapping::anonymous(4 * physical);
  EXPECT_EQ(look(memory.range().end() - 1), shows(0));
}

TEST(mapping, end_unmaps_and_closes) {
  const auto before = test::open_descriptors();
  std::optional memory = mapping::shared(page_size());
  const auto range = memory->range();
  const test::fence fenced(range);
  ASSERT_TRUE(is_mapped(range));
  memory.reset();
  EXPECT_FALSE(is_mapped(range));
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST(mapping, move_leaves_nothing_behind) {
  auto first = mapping::shared(page_size());
  const auto range = first.range();
  const int file = first.file();
  const auto second = std::move(first);
  // NOLINTBEGIN(bugprone-use-after-move): what a moved-from one holds
  EXPECT_TRUE(first.bytes().empty());
  EXPECT_TRUE(first.range().empty());
  EXPECT_EQ(first.file(), -1);
  // NOLINTEND(bugprone-use-after-move)
  EXPECT_EQ(second.range(), range);
  EXPECT_EQ(second.file(), file);
  EXPECT_TRUE(is_mapped(range));
}

TEST(mapping, assignment_unmaps_the_former) {
  auto first = mapping::anonymous(page_size());
  auto second = mapping::shared(page_size());
  const auto gone = first.range();
  const test::fence fenced(gone);
  const auto kept = second.range();
  first = std::move(second);
  EXPECT_EQ(first.range(), kept);
  EXPECT_GE(first.file(), 0);
  EXPECT_FALSE(is_mapped(gone));
  EXPECT_TRUE(is_mapped(kept));
}

TEST(mapping, assignment_to_itself_changes_nothing) {
  auto memory = mapping::shared(page_size());
  const auto range = memory.range();
  auto& same = memory;
  memory = std::move(same);
  EXPECT_EQ(memory.range(), range);
  EXPECT_TRUE(is_mapped(range));
}

TEST(mapping, alias_shows_the_same_bytes_at_another_address_and_outlives_the_first) {
  std::optional memory = mapping::shared(page_size());
  const auto alias = memory->alias();
  EXPECT_NE(alias.range(), memory->range());
  EXPECT_EQ(alias.page_size(), memory->page_size());
  test::write_byte(memory->range().begin(), 7);
  EXPECT_EQ(look(alias.range().begin()), shows(7));
  memory.reset();
  EXPECT_EQ(look(alias.range().begin()), shows(7));
  EXPECT_EQ(look(alias.alias().range().begin()), shows(7));
}

TEST(mapping, alias_of_private_memory_is_EINVAL) {
  const auto memory = mapping::anonymous(page_size());
  EXPECT_EQ(thrown([&] { static_cast<void>(memory.alias()); }), EINVAL);
}

TEST(mapping, huge_pages_of_no_page_size_are_EINVAL_by_name) {
  for (const std::size_t page :
       {std::size_t{0}, std::size_t{100}, 3 * page_size(), page_size() / 2})
    for (const auto make : {mapping::huge, mapping::shared_huge}) try {
        make(page_size(), page);
        ADD_FAILURE() << page;
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::invalid_argument);
        EXPECT_NE(std::string(error.what()).find(std::to_string(page)), std::string::npos);
      }
}

TEST(mapping, huge_pages_of_a_size_that_the_kernel_lacks_are_EINVAL) {
  constexpr auto odd = std::size_t{64} << 20;
  EXPECT_EQ(thrown([] { mapping::huge(odd, odd); }), EINVAL);
  EXPECT_EQ(thrown([] { mapping::shared_huge(odd, odd); }), EINVAL);
}

TEST(mapping, huge_pages_that_are_not_reserved_are_ENOMEM_and_name_the_sysctl) {
  const auto too_many = std::size_t{1} << 44;
  for (const auto make : {mapping::huge, mapping::shared_huge}) try {
      make(too_many, test::huge_page_size);
      ADD_FAILURE();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::not_enough_memory);
      EXPECT_NE(std::string(error.what()).find("vm.nr_hugepages"), std::string::npos);
    }
}

TEST(mapping, huge_pages_have_their_size) {
  UFFDPP_REQUIRE(test::huge_pages(2));
  for (const auto make : {mapping::huge, mapping::shared_huge}) {
    const auto memory = make(1, test::huge_page_size);
    EXPECT_EQ(memory.page_size(), test::huge_page_size);
    EXPECT_EQ(memory.bytes().size(), test::huge_page_size);
    EXPECT_TRUE(memory.range().is_aligned(test::huge_page_size));
    EXPECT_EQ(test::try_write(memory.range().end() - 1, 7), shows(7));
  }
}

TEST(mapping, huge_pages_need_not_be_reserved) {
  const auto more_than_there_are = std::size_t{1} << 38;
  UFFDPP_REQUIRE(test::huge_pages(1));
  const auto memory = mapping::huge_unreserved(more_than_there_are, test::huge_page_size);
  EXPECT_EQ(memory.page_size(), test::huge_page_size);
  EXPECT_EQ(memory.bytes().size(), more_than_there_are);
  EXPECT_EQ(test::try_write(memory.range().end() - 1, 7), shows(7));
}

TEST(mapping, huge_unreserved_is_empty_though_all_memory_is_locked) {
  UFFDPP_REQUIRE(test::huge_pages(4));
  const auto pages_there = [] {
    if (::mlockall(MCL_FUTURE) != 0) return 77;
    std::optional<mapping> made;
    try {
      made = mapping::huge_unreserved(4 * test::huge_page_size, test::huge_page_size);
    } catch (const std::system_error&) {
      return 77;
    }
    const auto& memory = *made;
    int count = 0;
    for (std::size_t i = 0; i < 4; ++i)
      if (test::is_there(memory.range().begin() + i * test::huge_page_size)) ++count;
    return count;
  };
  const auto end = test::in_child(pages_there);
  if (end == test::exits_with(77)) GTEST_SKIP() << "memory can't be locked";
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(mapping, shared_huge_has_aliases) {
  UFFDPP_REQUIRE(test::huge_pages(1));
  const auto memory = mapping::shared_huge(1, test::huge_page_size);
  const auto alias = memory.alias();
  EXPECT_EQ(alias.page_size(), test::huge_page_size);
  test::write_byte(memory.range().begin(), 7);
  EXPECT_EQ(look(alias.range().begin()), shows(7));
}

}  // namespace
}  // namespace uffd
