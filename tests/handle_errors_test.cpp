// SPDX-License-Identifier: MIT
// How the operations that fill pages fail on each kind of memory, by errno; all in all they change
// nothing. What is peculiar to one kind or one operation: handle_fill_test.cpp,
// handle_move_test.cpp.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;

class handle_errors : public test::on_every_kind {};
UFFDPP_ON_EVERY_KIND(handle_errors);

TEST_P(handle_errors, copy_into_present_page_reports_already_present) {
  serve();
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7)));
  const auto result = on().copy(memory().begin(), bytes(8));
  EXPECT_EQ(result.error(), condition::already_present);
  EXPECT_EQ(result.bytes, 0u);
  EXPECT_EQ(look(memory().begin()), shows(7));
}

TEST_P(handle_errors, copy_up_to_a_present_page_reports_retry_with_what_was_done) {
  serve();
  ASSERT_TRUE(on().copy(memory().at(2), bytes(7)));
  const auto result = on().copy(memory().begin(), bytes(8, 4));
  EXPECT_EQ(result.error(), condition::retry);
  EXPECT_EQ(result.bytes, 2 * page_size());
  EXPECT_EQ(look(memory().at(1)), shows(8));
  EXPECT_EQ(look(memory().at(2)), shows(7));
}

TEST_P(handle_errors, copy_into_unregistered_memory_reports_not_registered) {
  const auto result = on().copy(memory().begin(), bytes(7));
  EXPECT_EQ(result.error(), condition::not_registered);
  EXPECT_EQ(result.bytes, 0u);
}

TEST_P(handle_errors, copy_across_the_end_of_a_registration_reports_not_registered) {
  on().register_range(memory().page(0, 2), register_mode::missing);
  const auto result = on().copy(memory().begin(), bytes(7, 4));
  EXPECT_EQ(result.error(), condition::not_registered);
  EXPECT_EQ(result.bytes, 0u);
}

TEST_P(handle_errors, copy_into_unmapped_memory_reports_not_registered) {
  serve();
  const auto range = memory().range();
  const auto source = bytes(7);
  unmap();
  EXPECT_EQ(on().copy(range.begin(), source).error(), condition::not_registered);
}

TEST_P(handle_errors, copy_of_nothing_or_to_an_unaligned_address_or_in_an_unknown_mode_is_EINVAL) {
  serve();
  EXPECT_EQ(on().copy(memory().begin(), {}).number, EINVAL);
  EXPECT_EQ(on().copy(memory().begin() + 1, bytes(7)).number, EINVAL);
  EXPECT_EQ(on().copy(memory().begin(), test::filled(100, 7)).number, EINVAL);
  EXPECT_EQ(on().copy(memory().begin(), bytes(7), flags<fill_mode>::from_bits(0x80)).number,
            EINVAL);
}

TEST_P(handle_errors, copy_write_protected_without_that_mode_is_EINVAL) {
  serve();
  const auto result = on().copy(memory().begin(), bytes(7), fill_mode::write_protect);
  EXPECT_EQ(result.number, EINVAL);
  EXPECT_EQ(result.bytes, 0u);
}

TEST_P(handle_errors, copy_from_unreadable_memory_is_EFAULT) {
  serve();
  const test::memory source(GetParam(), 1);
  ASSERT_EQ(::mprotect(source.bytes().data(), source.size(), PROT_NONE), 0);
  const auto result = on().copy(memory().begin(), source.bytes());
  EXPECT_EQ(result.number, EFAULT);
  EXPECT_EQ(result.bytes, 0u);
}

TEST_P(handle_errors, poison_of_a_present_page_reports_already_present) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  serve();
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7)));
  EXPECT_EQ(on().poison(memory().page(0)).error(), condition::already_present);
  EXPECT_EQ(look(memory().begin()), shows(7));
}

TEST_P(handle_errors, poison_of_unregistered_memory_reports_not_registered) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  EXPECT_EQ(on().poison(memory().page(0)).error(), condition::not_registered);
}

TEST_P(handle_errors, poison_of_an_unaligned_or_empty_range_is_EINVAL) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  serve();
  EXPECT_EQ(on().poison({memory().begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on().poison({memory().begin(), 0}).number, EINVAL);
}

TEST_P(handle_errors, write_protect_of_a_range_without_that_mode_reports_not_registered) {
  serve();
  const auto result = on().write_protect(memory().range());
  EXPECT_EQ(result.error(), condition::not_registered);
  EXPECT_EQ(result.bytes, 0u);
  EXPECT_EQ(on().write_unprotect(memory().range()).error(), condition::not_registered);
}

TEST_P(handle_errors, write_protect_of_an_unaligned_or_empty_range_is_EINVAL) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  serve(register_mode::write_protect);
  EXPECT_EQ(on().write_protect({memory().begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on().write_protect({memory().begin(), 0}).number, EINVAL);
  if (test::is_huge(GetParam())) {
    EXPECT_EQ(on().write_protect({memory().begin(), uffd::page_size()}).number, EINVAL);
  }
}

// The reason for the rule: never cross a registration.
TEST_P(handle_errors, write_protect_across_the_end_of_a_registration_may_be_half_applied) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  std::memset(memory().bytes().data(), 7, memory().size());
  on().register_range(memory().page(0, 2), register_mode::write_protect);
  EXPECT_EQ(on().write_protect(memory().range()).error(), condition::not_registered);
  test::toucher writer(memory().begin(), 9);
  const bool is_half_applied = writer.waits();
  ASSERT_TRUE(on().write_unprotect(memory().page(0, 2)));
  EXPECT_EQ(writer.saw(), shows(9));
  if (!is_half_applied) GTEST_SKIP() << "this kernel applies nothing of it";
}

TEST_P(handle_errors, read_write_protect_and_set_mode_are_EINVAL_before_linux_7_3) {
  UFFDPP_REQUIRE(test::kernel_lacks(feature::rwp));
  serve();
  EXPECT_EQ(on().read_write_protect(memory().range()).number, EINVAL);
  EXPECT_EQ(on().read_write_unprotect(memory().range()).number, EINVAL);
  EXPECT_EQ(on().read_write_unprotect(memory().range(), wake_mode::dont_wake).number, EINVAL);
  const auto result = on().set_mode(feature::rwp_async, {});
  EXPECT_EQ(result.number, EINVAL);
  EXPECT_EQ(result.bytes, 0u);
}

}  // namespace
}  // namespace uffd
