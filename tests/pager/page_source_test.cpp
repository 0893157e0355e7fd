// SPDX-License-Identifier: MIT
#include "uffd/pager/page_source.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace uffd {
namespace {

struct readable {
  std::uint64_t size() const { return 0; }
  read_result read(std::uint64_t, std::span<std::byte>) const { return {}; }
};
struct writable : readable {
  std::error_code write(std::uint64_t, std::span<const std::byte>) { return {}; }
};
struct answers_a_number {
  std::uint64_t size() const { return 0; }
  std::size_t read(std::uint64_t, std::span<std::byte>) const { return 0; }
};
struct reads_only_where_it_may_change {
  std::uint64_t size() const { return 0; }
  read_result read(std::uint64_t, std::span<std::byte>) { return {}; }
};
static_assert(page_source<readable>);
static_assert(page_source<writable>);
static_assert(!page_source<answers_a_number>);
static_assert(!page_source<reads_only_where_it_may_change>);
static_assert(writable_source<writable>);
static_assert(!writable_source<readable>);

TEST(source_error, is_an_error_code_that_says_what_happened) {
  const std::error_code error = source_error::changed;
  EXPECT_EQ(error, source_error::changed);
  EXPECT_NE(error, source_error::gone);
  EXPECT_STREQ(error.category().name(), "page source");
  EXPECT_NE(error.message().find("changed"), std::string::npos);
}

TEST(transient_error, of_a_source_is_one_alone) {
  EXPECT_TRUE(is_transient(source_error::transient));
  for (const auto error : {source_error::changed, source_error::gone, source_error::incomplete})
    EXPECT_FALSE(is_transient(error)) << make_error_code(error).message();
}

TEST(transient_error, is_an_errno_that_passes) {
  for (const int number : {EAGAIN, EINTR, ETIMEDOUT, ECONNRESET, EHOSTUNREACH}) {
    EXPECT_TRUE(is_transient({number, std::system_category()})) << number;
    EXPECT_TRUE(is_transient({number, std::generic_category()})) << number;
  }
  for (const int number : {EIO, ENOENT, EACCES, ENOSPC})
    EXPECT_FALSE(is_transient({number, std::system_category()})) << number;
}

TEST(transient_error, is_no_number_of_another_category) {
  EXPECT_FALSE(is_transient({EAGAIN, std::iostream_category()}));
  EXPECT_FALSE(is_transient({}));
}

}  // namespace
}  // namespace uffd
