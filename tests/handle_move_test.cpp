// SPDX-License-Identifier: MIT
// UFFDIO_MOVE: what it moves and how it fails, by errno.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>

#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/pages_to_move.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

class handle_move : public test::pages_to_move {};

TEST_F(handle_move, takes_the_pages_along_and_leaves_holes) {
  test::toucher reader(to().at(1));
  ASSERT_TRUE(test::next_fault(on()));
  const auto result = on().move(to().begin(), from().range());
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result.bytes, to().size());
  EXPECT_EQ(reader.saw(), test::shows(2));
  EXPECT_EQ(test::look(to().at(3)), test::shows(4));
  EXPECT_EQ(test::look(from().at(3)), test::shows(0));
}

TEST_F(handle_move, that_does_not_wake_leaves_the_waiter_to_wake) {
  test::toucher reader(to().begin());
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().move(to().begin(), from().page(0), move_mode::dont_wake));
  EXPECT_TRUE(reader.waits());
  ASSERT_TRUE(on().wake(to().page(0)));
  EXPECT_EQ(reader.saw(), test::shows(1));
}

TEST_F(handle_move, of_a_hole_reports_ENOENT_unless_holes_are_allowed) {
  const test::memory holes(test::memory_kind::anonymous, 1);
  const auto result = on().move(to().begin(), holes.range());
  EXPECT_EQ(result.number, ENOENT);
  EXPECT_EQ(result.bytes, 0u);
  EXPECT_TRUE(on().move(to().begin(), holes.range(), move_mode::allow_source_holes));
}

TEST_F(handle_move, from_unmapped_memory_reports_ENOENT) {
  EXPECT_EQ(on().move(to().begin(), test::unmapped_page()).number, ENOENT);
}

TEST_F(handle_move, onto_itself_reports_ENOENT) {
  EXPECT_EQ(on().move(to().begin(), to().page(0)).number, ENOENT);
}

TEST_F(handle_move, onto_a_present_page_reports_already_present) {
  ASSERT_TRUE(on().copy(to().begin(), test::filled(page_size(), 7)));
  EXPECT_EQ(on().move(to().begin(), from().page(0)).error(), condition::already_present);
  EXPECT_EQ(test::look(from().begin()), test::shows(1));
  EXPECT_EQ(test::look(to().begin()), test::shows(7));
}

TEST_F(handle_move, onto_a_poisoned_page_reports_already_present) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  ASSERT_TRUE(on().poison(to().page(0)));
  EXPECT_EQ(on().move(to().begin(), from().page(0)).error(), condition::already_present);
}

TEST_F(handle_move, up_to_a_present_page_reports_retry_with_what_was_done) {
  ASSERT_TRUE(on().copy(to().at(2), test::filled(page_size(), 7)));
  const auto result = on().move(to().begin(), from().range());
  EXPECT_EQ(result.error(), condition::retry);
  EXPECT_EQ(result.bytes, 2 * page_size());
}

TEST_F(handle_move, of_a_page_shared_by_fork_is_EBUSY_even_after_the_childs_end) {
  ASSERT_EQ(test::in_child([] {}), test::exits_with(0));
  EXPECT_EQ(on().move(to().begin(), from().page(0)).number, EBUSY);
  test::write_byte(from().begin(), 5);  // makes the page this process's own again
  EXPECT_TRUE(on().move(to().begin(), from().page(0)));
}

TEST_F(handle_move, of_shared_memory_is_EINVAL) {
  const test::memory shared(test::memory_kind::shared, 1);
  test::write_byte(shared.begin(), 1);
  EXPECT_EQ(on().move(to().begin(), shared.range()).number, EINVAL);
}

TEST_F(handle_move, of_memory_with_another_protection_is_EINVAL) {
  ASSERT_EQ(::mprotect(from().bytes().data(), from().size(), PROT_READ), 0);
  EXPECT_EQ(on().move(to().begin(), from().page(0)).number, EINVAL);
}

TEST_F(handle_move, to_memory_of_another_handle_is_EINVAL) {
  const auto other = handle::open();
  EXPECT_EQ(other.move(to().begin(), from().page(0)).number, EINVAL);
}

TEST_F(handle_move, across_the_end_of_a_registration_is_EINVAL) {
  ASSERT_TRUE(on().unregister(to().page(2, 2)));
  EXPECT_EQ(on().move(to().begin(), from().range()).number, EINVAL);
}

TEST_F(handle_move, of_unaligned_or_empty_ranges_or_in_an_unknown_mode_is_EINVAL) {
  EXPECT_EQ(on().move(to().begin() + 1, from().page(0)).number, EINVAL);
  EXPECT_EQ(on().move(to().begin(), {from().begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on().move(to().begin(), {from().begin(), 0}).number, EINVAL);
  const auto unknown = flags<move_mode>::from_bits(4);
  EXPECT_EQ(on().move(to().begin(), from().page(0), unknown).number, EINVAL);
}

TEST_F(handle_move, onto_a_write_protect_marker_reports_already_present) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated));
  const auto on = handle::open({.required = feature::move | feature::wp_unpopulated});
  const test::memory marked(test::memory_kind::anonymous, 1);
  on.register_range(marked.range(), register_mode::missing | register_mode::write_protect);
  ASSERT_TRUE(on.write_protect(marked.range()));
  EXPECT_EQ(on.move(marked.begin(), from().page(0)).error(), condition::already_present);
}

TEST_F(handle_move, through_a_childs_handle_is_EINVAL) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = handle::open({.required = feature::move | feature::event_fork});
  const test::memory mine(test::memory_kind::anonymous, 1);
  on.register_range(mine.range(), register_mode::missing);
  const test::followed_child child(on);
  const auto result = child.on().move(mine.begin(), from().page(0));
  EXPECT_EQ(result.number, EINVAL);
  EXPECT_EQ(result.bytes, 0u);
}

}  // namespace
}  // namespace uffd
