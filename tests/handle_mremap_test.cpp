// SPDX-License-Identifier: MIT
// mremap of registered memory that nobody hears of, and of several mappings at once.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "support/event_causes.hpp"
#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;

class moved_unheard : public test::on_every_kind {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::available(GetParam(), 2 * pages));
    UFFDPP_REQUIRE(test::movable(GetParam()));
    on_every_kind::SetUp();
    target_.emplace(GetParam(), pages);
  }
  const test::memory& target() const { return *target_; }

 private:
  std::optional<test::memory> target_;
};
UFFDPP_ON_EVERY_KIND(moved_unheard);

TEST_P(moved_unheard, memory_is_registered_no_more_and_shows_zeroes_where_pages_are_missing) {
  serve();
  ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
  test::move_memory(memory().range(), target().begin());
  EXPECT_EQ(on().copy(target().begin(), bytes(8)).error(), condition::not_registered);
  EXPECT_EQ(on().copy(memory().begin(), bytes(8)).error(), condition::not_registered);
  EXPECT_EQ(look(target().at(0)), shows(0));
  EXPECT_EQ(look(target().at(1)), shows(7));
}

// What it can't know it leaves alone; the place that was left isn't its own any more.
TEST_P(moved_unheard, memory_is_left_alone_by_the_end_of_its_region) {
  std::optional<region> registered(std::in_place, on(), memory().range(), register_mode::missing,
                                   page_size());
  ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
  test::move_memory(memory().range(), target().begin());
  registered.reset();
  EXPECT_EQ(look(target().at(0)), shows(0));
  EXPECT_EQ(look(target().at(1)), shows(7));
}

TEST_P(moved_unheard, waiter_is_woken_by_hand_into_sigsegv) {
  const test::fence around_target(target().range());
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  test::move_memory(memory().range(), target().begin());
  EXPECT_TRUE(reader.waits());
  EXPECT_TRUE(on().wake(memory().range()));
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

// Several mappings of one file of huge pages may share page tables.
TEST(moved_huge_memory, that_is_mapped_several_times_keeps_its_content) {
  UFFDPP_REQUIRE(test::available(test::memory_kind::shared_huge, 5));
  UFFDPP_REQUIRE(test::movable(test::memory_kind::shared_huge));
  constexpr std::size_t pages = 5;
  const test::memory first(test::memory_kind::shared_huge, pages);
  const auto second = first.mapping().alias();
  const auto third = first.mapping().alias();
  for (std::size_t i = 0; i < pages; ++i) test::write_byte(first.at(i), static_cast<int>(i) + 1);
  const auto on = handle::open({.required = feature::missing_hugetlbfs});
  const region registered(on, second, register_mode::missing);
  const auto target = mapping::anonymous(2 * first.size());
  const auto to = align_up(target.range().begin(), first.page_size());
  const page_range from = second.range();
  test::move_memory(from, to);
  for (std::size_t i = 0; i < pages; ++i) {
    const auto offset = i * first.page_size();
    EXPECT_EQ(look(to + offset), shows(static_cast<int>(i) + 1));
    EXPECT_EQ(look(third.range().begin() + offset), shows(static_cast<int>(i) + 1));
  }
  void* const place = reinterpret_cast<void*>(from.begin());
  ASSERT_EQ(::munmap(place, from.size()), 0);
  EXPECT_EQ(::mremap(place, from.size(), from.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
                     first.bytes().data()),
            MAP_FAILED)
      << "nothing is there to be moved";
  EXPECT_EQ(errno, EFAULT);
  test::unmap(from);
}

// Five mappings of a page, with something inaccessible behind each; a place for all of it.
class several_mappings : public testing::Test {
 protected:
  static constexpr std::size_t count = 5;

  void SetUp() override {
    for (std::size_t i = 0; i < count; ++i) {
      test::unmap({at(i) + page_size(), page_size()});
      test::write_byte(at(i), static_cast<int>(i) + 1);
    }
  }

  std::uintptr_t at(std::size_t index) const {
    return from_.range().begin() + 2 * index * page_size();
  }
  page_range page(std::size_t index) const { return {at(index), page_size()}; }
  std::uintptr_t moved(std::size_t index) const {
    return to_.range().begin() + 2 * index * page_size();
  }
  // The errno of moving all from this page on; 0 if it went well.
  int move_from(std::size_t first) const {
    const auto size = from_.range().end() - at(first) - page_size();
    void* const to = reinterpret_cast<void*>(moved(first));
    return ::mremap(reinterpret_cast<void*>(at(first)), size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
                    to) == to
               ? 0
               : errno;
  }

 private:
  const mapping from_ = mapping::anonymous(2 * count * uffd::page_size());
  const mapping to_ = mapping::anonymous(2 * count * uffd::page_size());
};

TEST_F(several_mappings, that_are_registered_cannot_be_moved_at_once) {
  const auto on = handle::open();
  for (std::size_t i = 0; i < count; ++i) on.register_range(page(i), register_mode::missing);
  EXPECT_EQ(move_from(0), EFAULT);
  for (std::size_t i = 0; i < count; ++i) {
    EXPECT_EQ(look(at(i)), shows(static_cast<int>(i) + 1));
    EXPECT_EQ(on.zeropage(page(i)).error(), condition::already_present) << "still registered";
  }
  test::move_memory(page(0), moved(0));
  EXPECT_EQ(look(moved(0)), shows(1)) << "a single one can";
}

TEST_F(several_mappings, are_moved_at_most_up_to_one_that_is_registered) {
  const auto on = handle::open();
  on.register_range(page(3), register_mode::missing);
  EXPECT_EQ(move_from(0), EFAULT);
  EXPECT_EQ(look(at(3)), shows(4));
  EXPECT_EQ(look(at(4)), shows(5));
  EXPECT_EQ(on.zeropage(page(3)).error(), condition::already_present) << "still registered";
}

}  // namespace
}  // namespace uffd
