// SPDX-License-Identifier: MIT
#include "uffd/detail/adopt.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace uffd::detail {
namespace {

TEST(features_in_fdinfo, are_the_second_number_of_its_line) {
  EXPECT_EQ(features_in_fdinfo("pos:\t0\npending:\t0\ntotal:\t0\nAPI:\taa:800001ff:3\n"),
            0x800001ffU);
  EXPECT_EQ(features_in_fdinfo("API:\taa:ffffffffffffffff:8000000000000003"), ~0ULL);
}

TEST(features_in_fdinfo, are_none_without_the_line) {
  EXPECT_EQ(features_in_fdinfo(""), std::nullopt);
  EXPECT_EQ(features_in_fdinfo("API:\tab:1:3\n"), std::nullopt);
}

// As if they had not been negotiated: such a descriptor is refused.
TEST(features_in_fdinfo, are_empty_where_the_line_has_no_number) {
  EXPECT_EQ(features_in_fdinfo("API:\taa:"), 0U);
  EXPECT_EQ(features_in_fdinfo("API:\taa:x"), 0U);
  EXPECT_EQ(features_in_fdinfo("API:\taa:1ffffffffffffffff:3"), 0U);
}

}  // namespace
}  // namespace uffd::detail
