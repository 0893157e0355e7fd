// SPDX-License-Identifier: MIT
#include "detail/handoff_message.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace uffd::detail {
namespace {

const region_info example{{0x7f0000200000, 0x600000},
                          0x200000,
                          register_mode::missing | register_mode::write_protect,
                          range_ioctl::copy | range_ioctl::wake,
                          0x1122334455667788,
                          0x400000,
                          true};

std::vector<std::byte> encoded(const std::vector<region_info>& regions) {
  return encode_handoff({0, 3, true, flags<feature>::from_bits(0x8000'0000'0000'0005)}, regions);
}

handoff_header header_of(std::span<const std::byte> bytes) {
  handoff_header header;
  EXPECT_EQ(decode_handoff_header(bytes.first<handoff_header_size>(), header).number, 0);
  return header;
}

TEST(handoff_message, is_laid_out_as_documented) {
  const auto bytes = encoded({example});
  const auto number_at = [&](std::size_t offset, std::size_t size) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < size; ++i)
      number |= std::to_integer<std::uint64_t>(bytes[offset + i]) << (8 * i);
    return number;
  };
  ASSERT_EQ(bytes.size(), 104U);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), 8), "uffdhand");
  EXPECT_EQ(number_at(8, 4), 1U);
  EXPECT_EQ(number_at(12, 4), 104U);
  EXPECT_EQ(number_at(16, 4), 64U);
  EXPECT_EQ(number_at(20, 4), 1U);
  EXPECT_EQ(number_at(24, 4), 3U);
  EXPECT_EQ(number_at(28, 4), 1U);
  EXPECT_EQ(number_at(32, 8), 0x8000'0000'0000'0005U);
  EXPECT_EQ(number_at(40, 8), example.range.begin());
  EXPECT_EQ(number_at(48, 8), example.range.size());
  EXPECT_EQ(number_at(56, 8), example.page_size);
  EXPECT_EQ(number_at(64, 8), example.modes.bits());
  EXPECT_EQ(number_at(72, 8), example.ioctls.bits());
  EXPECT_EQ(number_at(80, 8), example.tag);
  EXPECT_EQ(number_at(88, 8), example.offset);
  EXPECT_EQ(number_at(96, 8), 1U);
}

TEST(handoff_message, comes_back_as_it_was) {
  region_info second = example;
  second.range = {0x10000, page_size()};
  second.page_size = page_size();
  second.removed = false;
  second.modes |= flags<register_mode>::from_bits(1ULL << 50);
  const std::vector sent{example, second};
  const auto bytes = encoded(sent);
  const auto header = header_of(bytes);
  EXPECT_EQ(header.regions, 2U);
  EXPECT_EQ(header.children, 3U);
  EXPECT_TRUE(header.kernel_faults);
  EXPECT_EQ(header.features.bits(), 0x8000'0000'0000'0005U);
  std::vector<region_info> received;
  EXPECT_EQ(decode_handoff_regions(std::span(bytes).subspan(handoff_header_size), received).number,
            0);
  EXPECT_TRUE(received == sent);
}

TEST(handoff_message, adds_regions_to_those_that_are_there) {
  const auto bytes = encoded({example});
  std::vector received{example};
  EXPECT_EQ(decode_handoff_regions(std::span(bytes).subspan(handoff_header_size), received).number,
            0);
  EXPECT_EQ(received.size(), 2U);
}

TEST(handoff_message, does_not_take_half_a_region) {
  const auto bytes = encoded({example});
  std::vector<region_info> received;
  EXPECT_EQ(
      decode_handoff_regions(std::span(bytes).subspan(handoff_header_size + 1), received).number,
      EBADMSG);
}

TEST(handoff_message, may_end_a_region_at_the_last_page_but_not_past_it) {
  const auto page = page_size();
  region_info last = example;
  last.page_size = page;
  last.offset = 0;
  last.range = {0 - 2 * page, page};
  EXPECT_EQ(problem_of(last).number, 0);
  last.range = {0 - page, page};
  EXPECT_EQ(problem_of(last).number, EINVAL);
}

TEST(handoff_message, may_hold_regions_that_touch_but_not_that_overlap) {
  const auto page = page_size();
  const auto at = [&](std::size_t first, std::size_t count) {
    region_info info = example;
    info.page_size = page;
    info.range = {first * page, count * page};
    return info;
  };
  EXPECT_EQ(problem_of(std::vector{at(4, 2), at(2, 2), at(6, 1)}).number, 0);
  EXPECT_EQ(problem_of(std::vector{at(4, 2), at(2, 3)}).number, EINVAL);
  EXPECT_EQ(problem_of(std::vector{at(1, 8), at(2, 1), at(4, 1)}).number, EINVAL);
}

}  // namespace
}  // namespace uffd::detail
