// SPDX-License-Identifier: MIT
#include "uffd/version.hpp"

#include <gtest/gtest.h>

namespace {

// CMake takes the package's version from these lines, so they must stay plain numbers.
TEST(version, is_three_plain_numbers) {
  EXPECT_GE(UFFDPP_VERSION_MAJOR, 0);
  EXPECT_GE(UFFDPP_VERSION_MINOR, 0);
  EXPECT_GE(UFFDPP_VERSION_PATCH, 0);
#if UFFDPP_VERSION_MAJOR * 10000 + UFFDPP_VERSION_MINOR * 100 + UFFDPP_VERSION_PATCH == 0
  FAIL() << "0.0.0 is no version";
#endif
}

}  // namespace
