// SPDX-License-Identifier: MIT
// resolve::move, whose ioctl answers other errnos than its siblings.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <system_error>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/pages_to_move.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/resolve.hpp"

namespace uffd {
namespace {

using state = resolution::state;
class resolve_move : public test::pages_to_move {};

TEST_F(resolve_move, is_resolved_and_wakes) {
  test::toucher reader(to().at(1));
  ASSERT_TRUE(test::next_fault(on()));
  EXPECT_TRUE(resolve::move(on(), to().begin(), from().range()).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(2));
}

TEST_F(resolve_move, goes_on_behind_pages_that_are_present_and_wakes_who_waits_for_them) {
  test::toucher reader(to().at(1));
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().copy(to().at(1), test::filled(page_size(), 7), fill_mode::dont_wake));
  EXPECT_TRUE(resolve::move(on(), to().begin(), from().range()).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(7));
  EXPECT_EQ(test::look(to().at(0)), test::shows(1));
  EXPECT_EQ(test::look(to().at(3)), test::shows(4));
  EXPECT_EQ(test::look(from().at(1)), test::shows(2));
}

// Woken without a page, whoever waits would fault again without end.
TEST_F(resolve_move, of_a_hole_fails_with_EFAULT) {
  const test::memory holes(test::memory_kind::anonymous, 1);
  const auto result = resolve::move(on(), to().begin(), holes.range());
  EXPECT_EQ(result.kind(), state::failed);
  EXPECT_EQ(result.error(), std::errc::bad_address);
  EXPECT_TRUE(resolve::move(on(), to().begin(), holes.range(), move_mode::allow_source_holes)
                  .is_resolved());
}

TEST_F(resolve_move, with_a_hole_further_on_fails_with_EFAULT) {
  ASSERT_EQ(::madvise(from().bytes().data() + 2 * page_size(), page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(resolve::move(on(), to().begin(), from().range()).error(), std::errc::bad_address);
}

TEST_F(resolve_move, to_memory_that_is_no_longer_registered_is_gone) {
  ASSERT_TRUE(on().unregister(to().range()));
  EXPECT_EQ(resolve::move(on(), to().begin(), from().page(0)).kind(), state::gone);
  EXPECT_EQ(resolve::move(on(), to().begin(), from().range()).kind(), state::gone);
}

TEST_F(resolve_move, to_memory_that_was_unmapped_is_gone_and_wakes_the_waiter) {
  test::toucher reader(to().begin());
  ASSERT_TRUE(test::next_fault(on()));
  const auto range = to().range();
  const test::fence fenced(range);
  unmap_to();
  EXPECT_EQ(resolve::move(on(), range.begin(), from().range()).kind(), state::gone);
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

TEST_F(resolve_move, across_the_end_of_a_registration_moves_what_is_registered) {
  ASSERT_TRUE(on().unregister(to().page(2, 2)));
  EXPECT_TRUE(resolve::move(on(), to().begin(), from().range()).is_resolved());
  EXPECT_EQ(test::look(to().at(1)), test::shows(2));
  EXPECT_EQ(test::look(to().at(2)), test::shows(0));
  EXPECT_EQ(test::look(from().at(2)), test::shows(3));
}

TEST_F(resolve_move, of_shared_memory_fails_with_EINVAL) {
  const test::memory shared(test::memory_kind::shared, 1);
  test::write_byte(shared.begin(), 1);
  EXPECT_EQ(resolve::move(on(), to().begin(), shared.range()).error(), std::errc::invalid_argument);
}

TEST_F(resolve_move, of_a_page_shared_by_fork_fails_with_EBUSY) {
  ASSERT_EQ(test::in_child([] {}), test::exits_with(0));
  EXPECT_EQ(resolve::move(on(), to().begin(), from().page(0)).error(),
            std::errc::device_or_resource_busy);
}

TEST_F(resolve_move, with_an_event_unread_is_retry) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove));
  test::background remover([&] { ::madvise(to().bytes().data(), page_size(), MADV_DONTNEED); });
  ASSERT_TRUE(test::readable(on().fd()));
  EXPECT_EQ(resolve::move(on(), to().at(1), from().page(1)).kind(), state::retry);
  EXPECT_TRUE(test::next<remove_event>(on()));
}

}  // namespace
}  // namespace uffd
