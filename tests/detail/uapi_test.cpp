// SPDX-License-Identifier: MIT
// The interface as measured and documented, whatever headers are installed. src/detail/uapi.cpp
// compares it with those.
#include "uffd/detail/uapi.hpp"

#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>

#include "support/requires.hpp"
#include "uffd/detail/open.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::uapi {
namespace {

static_assert(sizeof(range) == 16 && sizeof(api) == 24 && sizeof(register_) == 32);
static_assert(sizeof(copy) == 40 && sizeof(zeropage) == 32 && sizeof(move) == 40);
static_assert(sizeof(write_protect) == 24 && sizeof(continue_) == 32 && sizeof(poison) == 32);
static_assert(sizeof(read_write_protect) == 24 && sizeof(set_mode) == 16);
static_assert(sizeof(message) == 32 && offsetof(message, argument) == 8);

// Computed from Linux 7.3's header; the same on all architectures with the generic ioctl encoding.
TEST(uapi, requests_have_the_kernels_values) {
  if (_IOC_WRITE != 1 || _IOC_SIZEBITS != 14) GTEST_SKIP() << "this architecture encodes otherwise";
  EXPECT_EQ(request::api, 0xC018AA3F);
  EXPECT_EQ(request::register_, 0xC020AA00);
  EXPECT_EQ(request::unregister, 0x8010AA01);
  EXPECT_EQ(request::wake, 0x8010AA02);
  EXPECT_EQ(request::copy, 0xC028AA03);
  EXPECT_EQ(request::zeropage, 0xC020AA04);
  EXPECT_EQ(request::move, 0xC028AA05);
  EXPECT_EQ(request::write_protect, 0xC018AA06);
  EXPECT_EQ(request::continue_, 0xC020AA07);
  EXPECT_EQ(request::poison, 0xC020AA08);
  EXPECT_EQ(request::read_write_protect, 0xC018AA09);
  EXPECT_EQ(request::set_mode, 0x4010AA0A);
  EXPECT_EQ(request::device_new, 0x0000AA00);
  EXPECT_EQ(pagemap::scan, 0xC0606610);
}

class uapi_negotiation : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::permitted()); }

  int answer(std::uint64_t version, std::uint64_t features) {
    api argument{version, features, 0};
    return detail::call_ioctl(descriptor_.get(), request::api, &argument);
  }

  const unique_fd descriptor_ =
      detail::open_descriptor(kernel_fault_policy::if_permitted, open_path::device_then_system_call)
          .descriptor;
};

TEST_F(uapi_negotiation, of_another_version_is_EINVAL) { EXPECT_EQ(answer(0xAB, 0), -EINVAL); }

TEST_F(uapi_negotiation, of_an_unknown_feature_is_EINVAL_and_may_be_tried_again) {
  EXPECT_EQ(answer(api_version, 1ULL << 63), -EINVAL);
  EXPECT_EQ(answer(api_version, 0), 0);
}

TEST_F(uapi_negotiation, is_for_once) {
  EXPECT_EQ(answer(api_version, 0), 0);
  EXPECT_EQ(answer(api_version, 0), -EINVAL);
}

TEST_F(uapi_negotiation, comes_before_all_else) {
  range argument{0, 4096};
  EXPECT_EQ(detail::call_ioctl(descriptor_.get(), request::wake, &argument), -EINVAL);
}

}  // namespace
}  // namespace uffd::uapi
