// SPDX-License-Identifier: MIT
#include "uffd/pager/memory_source.hpp"

#include <gtest/gtest.h>

#include <array>
#include <utility>

namespace uffd {
namespace {

static_assert(writable_source<memory_source>);

constexpr std::byte operator""_b(unsigned long long value) { return static_cast<std::byte>(value); }

class memory_source_of_four : public testing::Test {
 protected:
  std::array<std::byte, 4> memory_{1_b, 2_b, 3_b, 4_b};
  std::array<std::byte, 2> two_{};
};

TEST_F(memory_source_of_four, reads_from_there_on) {
  const memory_source source(std::as_const(memory_));
  const auto result = source.read(1, two_);
  EXPECT_EQ(result.bytes, 2U);
  EXPECT_FALSE(result.error);
  EXPECT_EQ(two_, (std::array{2_b, 3_b}));
  EXPECT_EQ(source.size(), 4U);
  EXPECT_EQ(source.bytes().data(), memory_.data());
}

TEST_F(memory_source_of_four, ends_at_its_end) {
  const memory_source source(std::as_const(memory_));
  const auto across = source.read(3, two_);
  EXPECT_EQ(across.bytes, 1U);
  EXPECT_EQ(across.error, source_error::incomplete);
  EXPECT_EQ(two_.front(), 4_b);
  for (const std::uint64_t beyond : {std::uint64_t{4}, ~std::uint64_t{0}}) {
    const auto nothing = source.read(beyond, two_);
    EXPECT_EQ(nothing.bytes, 0U);
    EXPECT_EQ(nothing.error, source_error::incomplete);
  }
}

TEST_F(memory_source_of_four, that_is_const_is_not_writable) {
  memory_source source(std::as_const(memory_));
  EXPECT_FALSE(source.is_writable());
  EXPECT_EQ(source.write(0, two_), std::errc::read_only_file_system);
  EXPECT_EQ(memory_.front(), 1_b);
}

TEST_F(memory_source_of_four, is_written_as_a_whole_or_not_at_all) {
  memory_source source(std::span<std::byte>{memory_});
  EXPECT_TRUE(source.is_writable());
  two_ = {8_b, 9_b};
  EXPECT_FALSE(source.write(2, two_));
  EXPECT_EQ(memory_, (std::array{1_b, 2_b, 8_b, 9_b}));
  for (const std::uint64_t beyond : {std::uint64_t{3}, ~std::uint64_t{0}})
    EXPECT_EQ(source.write(beyond, two_), std::errc::file_too_large);
  EXPECT_EQ(memory_, (std::array{1_b, 2_b, 8_b, 9_b}));
}

}  // namespace
}  // namespace uffd
