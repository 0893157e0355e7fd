// SPDX-License-Identifier: MIT
#include "uffd/page_range.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "uffd/mapping.hpp"

namespace uffd {
namespace {

constexpr page_range tens(10, 10);

static_assert(std::is_trivially_copyable_v<page_range>);
static_assert(std::is_convertible_v<std::span<std::byte>, page_range>);
static_assert(std::is_convertible_v<std::span<const int, 4>, page_range>);
static_assert(!std::is_convertible_v<page_range, std::span<std::byte>>);
static_assert(!std::is_convertible_v<page_range, std::uintptr_t>);
static_assert(!std::is_constructible_v<page_range, void*, std::size_t>);
static_assert(tens.begin() == 10 && tens.end() == 20 && tens.size() == 10 && !tens.empty());

TEST(page_range, of_a_span_has_its_bytes) {
  std::array<int, 4> numbers{};
  const page_range range = std::span(numbers);
  EXPECT_EQ(range.begin(), reinterpret_cast<std::uintptr_t>(numbers.data()));
  EXPECT_EQ(range.size(), sizeof numbers);
}

TEST(page_range, contains_its_first_address_but_not_its_end) {
  EXPECT_TRUE(tens.contains(10));
  EXPECT_TRUE(tens.contains(19));
  EXPECT_FALSE(tens.contains(20));
  EXPECT_FALSE(tens.contains(9));
  EXPECT_FALSE(page_range().contains(0));
}

TEST(page_range, contains_ranges_up_to_its_borders) {
  EXPECT_TRUE(tens.contains(tens));
  EXPECT_TRUE(tens.contains({12, 3}));
  EXPECT_FALSE(tens.contains({9, 2}));
  EXPECT_FALSE(tens.contains({19, 2}));
}

TEST(page_range, overlaps_only_where_a_byte_is_shared) {
  EXPECT_TRUE(tens.overlaps({19, 5}));
  EXPECT_TRUE(tens.overlaps({0, 11}));
  EXPECT_TRUE(tens.overlaps({0, 100}));
  EXPECT_FALSE(tens.overlaps({20, 5}));
  EXPECT_FALSE(tens.overlaps({0, 10}));
}

TEST(page_range, that_is_empty_overlaps_nothing) {
  EXPECT_FALSE(tens.overlaps({15, 0}));
  EXPECT_FALSE(page_range(15, 0).overlaps(tens));
  EXPECT_FALSE(page_range(15, 0).overlaps({15, 0}));
}

TEST(page_range, intersection_is_what_lies_in_both) {
  EXPECT_EQ(tens.intersection({15, 100}), page_range(15, 5));
  EXPECT_EQ(tens.intersection({0, 100}), tens);
  EXPECT_TRUE(tens.intersection({20, 5}).empty());
  EXPECT_TRUE(tens.intersection({0, 5}).empty());
}

TEST(page_range, is_aligned_if_begin_and_size_are) {
  EXPECT_TRUE(page_range(8192, 4096).is_aligned(4096));
  EXPECT_FALSE(page_range(8193, 4096).is_aligned(4096));
  EXPECT_FALSE(page_range(8192, 4095).is_aligned(4096));
  EXPECT_FALSE(page_range(4096, 8192).is_aligned(8192));
}

TEST(page_range, wraps_past_the_last_address) {
  constexpr auto last = std::numeric_limits<std::uintptr_t>::max();
  EXPECT_TRUE(page_range(last, 2).wraps());
  EXPECT_FALSE(page_range(last - 1, 1).wraps());
  EXPECT_FALSE(page_range().wraps());
}

TEST(page_range, prints_as_a_half_open_interval) {
  EXPECT_EQ(to_string(page_range(0x7f0000001000, 0x2000)), "[0x7f0000001000, 0x7f0000003000)");
  EXPECT_EQ(to_string(page_range()), "[0x0, 0x0)");
}

TEST(range_between, is_empty_if_start_and_end_are_the_wrong_way_round) {
  EXPECT_EQ(detail::range_between(10, 20), tens);
  EXPECT_EQ(detail::range_between(20, 10), page_range(20, 0));
}

TEST(align, rounds_to_multiples) {
  EXPECT_EQ(align_down(4097, 4096), 4096u);
  EXPECT_EQ(align_down(4096, 4096), 4096u);
  EXPECT_EQ(align_up(4097, 4096), 8192u);
  EXPECT_EQ(align_up(4096, 4096), 4096u);
  EXPECT_EQ(align_up(0, 4096), 0u);
}

TEST(page_size, is_a_power_of_two) {
  EXPECT_GE(page_size(), 4096u);
  EXPECT_EQ(page_size() & (page_size() - 1), 0u);
}

// Reading a page of shared memory brings it into the page cache, which mincore() tells.
TEST(touch, brings_in_every_page_and_none_beyond) {
  const auto memory = mapping::shared(5 * page_size());
  touch({memory.range().begin() + 2 * page_size() - 1, page_size() + 2});
  std::array<unsigned char, 5> there{};
  ASSERT_EQ(::mincore(memory.bytes().data(), memory.bytes().size(), there.data()), 0);
  EXPECT_EQ(there, (std::array<unsigned char, 5>{0, 1, 1, 1, 0}));
}

TEST(touch, of_nothing_touches_nothing) { touch({1, 0}); }

}  // namespace
}  // namespace uffd
