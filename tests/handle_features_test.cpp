// SPDX-License-Identifier: MIT
// What features change about the memory that is registered.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using test::memory;
using test::memory_kind;
using test::shows;

TEST(feature_sigbus, gives_the_faulting_thread_a_signal_and_no_message) {
  UFFDPP_REQUIRE(test::kernel_has(feature::sigbus));
  const auto on = handle::open({.required = feature::sigbus});
  const memory one(memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing);
  EXPECT_EQ(test::look(one.begin()), test::takes_sigbus);
  EXPECT_FALSE(test::readable(on.fd(), test::moment));
  ASSERT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
  EXPECT_EQ(test::look(one.begin()), shows(7));
}

TEST(feature_sigbus, makes_system_calls_on_missing_memory_fail_with_EFAULT) {
  UFFDPP_REQUIRE(test::kernel_has(feature::sigbus));
  const auto on = handle::open({.required = feature::sigbus});
  const memory one(memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing);
  const unique_fd zeroes(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::read(zeroes.get(), one.bytes().data(), 1), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST(feature_wp_async, lets_writers_go_on_without_a_message) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_async));
  const auto on = handle::open({.required = feature::wp_async});
  const memory one(memory_kind::anonymous, 1);
  test::write_byte(one.begin(), 7);
  on.register_range(one.range(), register_mode::write_protect);
  ASSERT_TRUE(on.write_protect(one.range()));
  EXPECT_EQ(test::try_write(one.begin(), 9), shows(9));
  EXPECT_FALSE(test::readable(on.fd(), test::moment));
}

TEST(feature_wp_unpopulated, decides_whether_missing_pages_can_be_write_protected) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated));
  for (const auto wanted : {flags<feature>(), flags(feature::wp_unpopulated)}) {
    const auto on = handle::open({.required = wanted | feature::pagefault_flag_wp});
    const memory one(memory_kind::anonymous, 1);
    on.register_range(one.range(), register_mode::write_protect);
    ASSERT_TRUE(on.write_protect(one.range()));
    test::toucher writer(one.begin(), 9);
    EXPECT_EQ(writer.waits(), !wanted.empty());
    ASSERT_TRUE(on.write_unprotect(one.range()));
    EXPECT_EQ(writer.saw(), shows(9));
  }
}

}  // namespace
}  // namespace uffd
