// SPDX-License-Identifier: MIT
#include "detail/never_destroyed.hpp"

#include <gtest/gtest.h>

namespace uffd::detail {
namespace {

int destroyed = 0;

struct counted {
  constexpr counted() noexcept {}
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { ++destroyed; }

  int number = 3;
};

constinit const never_destroyed<counted> from_the_start;

TEST(never_destroyed, is_made_before_anything_runs) { EXPECT_EQ(from_the_start.value.number, 3); }

TEST(never_destroyed, is_not_destroyed) {
  { const counted one; }
  EXPECT_EQ(destroyed, 1);
  { const never_destroyed<counted> other; }
  EXPECT_EQ(destroyed, 1);
}

}  // namespace
}  // namespace uffd::detail
