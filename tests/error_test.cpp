// SPDX-License-Identifier: MIT
#include "uffd/error.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <type_traits>
#include <utility>

namespace uffd {
namespace {

static_assert(std::is_trivially_copyable_v<outcome>);
static_assert(std::is_error_condition_enum_v<condition>);
static_assert(!std::is_error_code_enum_v<condition>);
static_assert(!std::is_convertible_v<outcome, bool>);

constexpr outcome failed(int number) { return {0, number}; }

constexpr std::array conditions{
    std::pair{EAGAIN, condition::retry}, std::pair{EEXIST, condition::already_present},
    std::pair{ENOENT, condition::not_registered}, std::pair{ESRCH, condition::target_gone}};

TEST(condition, is_equal_to_its_errno_and_to_no_other) {
  for (const auto& [number, meant] : conditions)
    for (const auto& [other, unmeant] : conditions) {
      EXPECT_EQ(failed(number).error() == unmeant, number == other) << number << " " << other;
      EXPECT_EQ(std::error_code(number, std::generic_category()) == unmeant, number == other);
    }
}

TEST(condition, is_not_equal_to_success_or_to_other_errors) {
  for (const auto& [number, meant] : conditions) {
    EXPECT_NE(outcome().error(), meant);
    EXPECT_NE(failed(EINVAL).error(), meant);
  }
}

TEST(condition, is_not_equal_to_the_same_number_of_another_category) {
  const std::error_code other(EAGAIN, std::iostream_category());
  EXPECT_NE(other, condition::retry);
}

TEST(condition, has_words_for_a_person) {
  EXPECT_STREQ(std::error_condition(condition::retry).category().name(), "userfaultfd");
  for (const auto& [number, meant] : conditions)
    EXPECT_NE(std::error_condition(meant).message(), "unknown condition");
  EXPECT_EQ(std::error_condition(static_cast<condition>(99)).message(), "unknown condition");
}

TEST(condition, that_is_unknown_equals_no_errno) {
  EXPECT_NE(failed(EAGAIN).error(), static_cast<condition>(99));
}

TEST(outcome, of_success_is_true_and_has_no_error) {
  const outcome done{4096, 0};
  EXPECT_TRUE(done);
  EXPECT_FALSE(done.error());
}

TEST(outcome, can_have_both_bytes_and_an_error) {
  const outcome partial{4096, EAGAIN};
  EXPECT_FALSE(partial);
  EXPECT_EQ(partial.bytes, 4096u);
  EXPECT_EQ(partial.error(), condition::retry);
  EXPECT_EQ(partial.error(), std::errc::resource_unavailable_try_again);
}

TEST(throw_errno, throws_the_number_and_the_words) {
  try {
    detail::throw_errno(EPERM, "opening the box");
    FAIL() << "did not throw";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::error_code(EPERM, std::system_category()));
    EXPECT_NE(std::string(error.what()).find("opening the box"), std::string::npos);
  }
}

}  // namespace
}  // namespace uffd
