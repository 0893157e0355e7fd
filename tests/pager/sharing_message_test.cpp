// SPDX-License-Identifier: MIT
#include "pager/sharing_message.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

#include "uffd/page_range.hpp"

namespace uffd::detail {
namespace {

TEST(sharing_message, says_what_was_said) {
  const sharing_message sent{0x0123456789abcde, page_size()};
  const auto bytes = encode(sent);
  sharing_message received;
  ASSERT_TRUE(decode(bytes, received));
  EXPECT_EQ(received.size, sent.size);
  EXPECT_EQ(received.page_size, sent.page_size);
  EXPECT_EQ(bytes[0], std::byte{'u'});
  EXPECT_EQ(bytes[16], std::byte{0xde}) << "little-endian";
}

TEST(sharing_message, is_refused_where_no_memory_could_be_so_large) {
  sharing_message received;
  EXPECT_FALSE(decode(encode({SIZE_MAX, page_size()}), received));
  EXPECT_FALSE(decode(encode({0, page_size()}), received));
  EXPECT_FALSE(decode(encode({1, 2 * page_size()}), received));
}

}  // namespace
}  // namespace uffd::detail
