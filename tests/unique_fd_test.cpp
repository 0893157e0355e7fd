// SPDX-License-Identifier: MIT
#include "uffd/unique_fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <type_traits>
#include <utility>

#include "support/descriptors.hpp"

namespace uffd {
namespace {

static_assert(!std::is_copy_constructible_v<unique_fd>);
static_assert(!std::is_copy_assignable_v<unique_fd>);
static_assert(std::is_nothrow_move_constructible_v<unique_fd>);
static_assert(std::is_nothrow_move_assignable_v<unique_fd>);
static_assert(std::is_nothrow_default_constructible_v<unique_fd>);
static_assert(!std::is_convertible_v<int, unique_fd>);
static_assert(!std::is_convertible_v<unique_fd, bool>);

unique_fd some() { return unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

TEST(unique_fd, owns_nothing_at_first) {
  const unique_fd none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.get(), -1);
}

TEST(unique_fd, closes_at_its_end) {
  int number = -1;
  {
    const auto owner = some();
    number = owner.get();
    ASSERT_TRUE(test::is_open(number));
  }
  EXPECT_FALSE(test::is_open(number));
}

TEST(unique_fd, descriptor_zero_is_owned_too) {
  unique_fd zero(0);
  EXPECT_TRUE(zero);
  EXPECT_EQ(zero.release(), 0);
}

TEST(unique_fd, move_leaves_nothing_behind) {
  auto first = some();
  const int number = first.get();
  const unique_fd second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what a moved-from one holds
  EXPECT_EQ(second.get(), number);
  EXPECT_TRUE(test::is_open(number));
}

TEST(unique_fd, assignment_closes_what_was_owned) {
  auto first = some();
  auto second = some();
  const int closed = first.get();
  const int kept = second.get();
  first = std::move(second);
  EXPECT_FALSE(test::is_open(closed));
  EXPECT_TRUE(test::is_open(kept));
  EXPECT_EQ(first.get(), kept);
  EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move): what a moved-from one holds
}

TEST(unique_fd, assignment_to_itself_changes_nothing) {
  auto owner = some();
  auto& same = owner;
  owner = std::move(same);
  EXPECT_TRUE(test::is_open(owner.get()));
}

TEST(unique_fd, release_gives_it_away_open) {
  auto owner = some();
  const int number = owner.release();
  EXPECT_FALSE(owner);
  owner.reset();
  EXPECT_TRUE(test::is_open(number));
  owner.reset(number);
  EXPECT_EQ(owner.get(), number);
}

TEST(unique_fd, reset_closes) {
  auto owner = some();
  const int number = owner.get();
  owner.reset();
  EXPECT_FALSE(owner);
  EXPECT_FALSE(test::is_open(number));
}

}  // namespace
}  // namespace uffd
