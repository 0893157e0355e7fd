// SPDX-License-Identifier: MIT
#include "uffd/detail/pagemap.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "support/descriptors.hpp"
#include "support/on_every_kind.hpp"
#include "support/page_flags.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"

namespace uffd::detail {
namespace {

// The holes of `range`, joined where they touch.
std::vector<page_range> holes(page_range range) {
  std::vector<page_range> found;
  EXPECT_EQ(
      for_each_hole(range,
                    [&](page_range hole) {
                      if (!found.empty() && found.back().end() == hole.begin())
                        found.back() = {found.back().begin(), found.back().size() + hole.size()};
                      else
                        found.push_back(hole);
                    }),
      0);
  return found;
}

class for_each_hole_of : public test::on_every_kind {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::pagemap_scan());
    on_every_kind::SetUp();
  }
};
UFFDPP_ON_EVERY_KIND(for_each_hole_of);

TEST_P(for_each_hole_of, untouched_memory_is_all_a_hole) {
  EXPECT_EQ(holes(memory().range()), std::vector{memory().range()});
}

TEST_P(for_each_hole_of, pages_that_are_there_are_left_out) {
  test::write_byte(memory().at(1), 7);
  EXPECT_EQ(holes(memory().range()), (std::vector{memory().page(0), memory().page(2, 2)}));
}

TEST_P(for_each_hole_of, memory_that_is_all_there_has_none) {
  for (std::size_t i = 0; i < pages; ++i) test::write_byte(memory().at(i), 7);
  EXPECT_TRUE(holes(memory().range()).empty());
}

TEST_P(for_each_hole_of, pages_that_were_dropped_are_holes_again) {
  for (std::size_t i = 0; i < pages; ++i) test::write_byte(memory().at(i), 7);
  ASSERT_EQ(::madvise(memory().bytes().data() + page_size(), 2 * page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(holes(memory().range()), std::vector{memory().page(1, 2)});
}

TEST_P(for_each_hole_of, pages_that_cannot_be_accessed_are_left_out) {
  test::write_byte(memory().at(1), 7);
  ASSERT_EQ(::mprotect(memory().bytes().data(), memory().size(), PROT_NONE), 0);
  EXPECT_EQ(holes(memory().range()), (std::vector{memory().page(0), memory().page(2, 2)}));
}

TEST_P(for_each_hole_of, poisoned_pages_are_no_holes) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  serve();
  ASSERT_TRUE(on().poison(memory().page(3)));
  EXPECT_EQ(holes(memory().range()), std::vector{memory().page(0, 3)});
}

TEST_P(for_each_hole_of, write_protected_missing_pages_are_no_holes) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated));
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  serve(register_mode::missing | register_mode::write_protect);
  ASSERT_TRUE(on().write_protect(memory().page(0, 2)));
  EXPECT_EQ(holes(memory().range()), std::vector{memory().page(2, 2)});
}

class for_each_hole_in : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::pagemap_scan()); }
};

// More runs than fit into one answer of the kernel.
TEST_F(for_each_hole_in, scattered_memory_finds_them_all) {
  constexpr std::size_t runs = 300;
  const auto memory = mapping::anonymous(2 * runs * page_size());
  const auto begin = memory.range().begin();
  for (std::size_t i = 0; i < runs; ++i) test::write_byte(begin + 2 * i * page_size(), 7);
  const auto found = holes(memory.range());
  ASSERT_EQ(found.size(), runs);
  for (std::size_t i = 0; i < runs; ++i)
    EXPECT_EQ(found[i], page_range(begin + (2 * i + 1) * page_size(), page_size()));
}

TEST_F(for_each_hole_in, zero_pages_are_no_holes) {
  const auto memory = mapping::anonymous(2 * page_size());
  EXPECT_EQ(test::look(memory.range().begin()), test::shows(0));
  EXPECT_EQ(holes(memory.range()),
            std::vector{page_range(memory.range().begin() + page_size(), page_size())});
}

// One huge page whole, one with a hole, and nothing.
TEST_F(for_each_hole_in, transparent_huge_pages_finds_them_by_small_pages) {
  constexpr auto huge = test::huge_page_size;
  const auto memory = mapping::anonymous(4 * huge);
  const auto begin = align_up(memory.range().begin(), huge);
  ASSERT_EQ(::madvise(memory.bytes().data(), memory.bytes().size(), MADV_HUGEPAGE), 0);
  test::write_byte(begin, 7);
  test::write_byte(begin + huge, 7);
  UFFDPP_REQUIRE(
      test::is_huge_mapped({begin, 2 * huge}) ? "" : "the kernel gives no transparent huge pages");
  // Or the kernel may make it whole again; those that are there stay.
  ASSERT_EQ(::madvise(memory.bytes().data(), memory.bytes().size(), MADV_NOHUGEPAGE), 0);
  const page_range dropped(begin + huge + 3 * page_size(), page_size());
  ASSERT_EQ(::madvise(reinterpret_cast<void*>(dropped.begin()), dropped.size(), MADV_DONTNEED), 0);
  EXPECT_EQ(holes({begin, 3 * huge}), (std::vector{dropped, page_range(begin + 2 * huge, huge)}));
}

TEST_F(for_each_hole_in, unmapped_memory_finds_none) {
  const auto memory = mapping::anonymous(3 * page_size());
  const page_range middle(memory.range().begin() + page_size(), page_size());
  ASSERT_EQ(::mprotect(memory.bytes().data() + page_size(), page_size(), PROT_NONE), 0);
  EXPECT_EQ(holes(middle), std::vector{middle}) << "protected is mapped";
  EXPECT_TRUE(holes(test::unmapped_page()).empty());
}

TEST_F(for_each_hole_in, an_empty_range_finds_none) { EXPECT_TRUE(holes({}).empty()); }

TEST_F(for_each_hole_in, an_unaligned_range_is_EINVAL) {
  EXPECT_EQ(for_each_hole({1, page_size()}, [](page_range) {}), EINVAL);
}

TEST_F(for_each_hole_in, any_memory_leaves_no_descriptor_open) {
  const auto before = test::open_descriptors();
  static_cast<void>(for_each_hole({page_size(), page_size()}, [](page_range) {}));
  EXPECT_EQ(test::open_descriptors(), before);
}

}  // namespace
}  // namespace uffd::detail
