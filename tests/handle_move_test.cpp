// SPDX-License-Identifier: MIT
// UFFDIO_MOVE: what it moves and how it fails, by errno.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using test::look;
using test::memory;
using test::memory_kind;
using test::shows;

constexpr std::size_t pages = 4;

// `to` is registered for missing faults; `from` holds 1, 2, 3, 4 in its pages.
class handle_move : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::move));
    on_.register_range(to_.range(), register_mode::missing);
    // Whole transparent huge pages would move as one.
    ::madvise(from_.bytes().data(), from_.size(), MADV_NOHUGEPAGE);
    for (std::size_t i = 0; i < pages; ++i) test::write_byte(from_.at(i), static_cast<int>(i) + 1);
  }

  const memory to_{memory_kind::anonymous, pages};
  const memory from_{memory_kind::anonymous, pages};
  const handle on_ =
      handle::open({.optional = feature::move | feature::poison | feature::pagefault_flag_wp});
};

TEST_F(handle_move, takes_the_pages_along_and_leaves_holes) {
  test::toucher reader(to_.at(1));
  ASSERT_TRUE(test::next_fault(on_));
  const auto result = on_.move(to_.begin(), from_.range());
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result.bytes, to_.size());
  EXPECT_EQ(reader.saw(), shows(2));
  EXPECT_EQ(look(to_.at(3)), shows(4));
  EXPECT_EQ(look(from_.at(3)), shows(0));
}

TEST_F(handle_move, that_does_not_wake_leaves_the_waiter_to_wake) {
  test::toucher reader(to_.begin());
  ASSERT_TRUE(test::next_fault(on_));
  ASSERT_TRUE(on_.move(to_.begin(), from_.page(0), move_mode::dont_wake));
  EXPECT_TRUE(reader.waits());
  ASSERT_TRUE(on_.wake(to_.page(0)));
  EXPECT_EQ(reader.saw(), shows(1));
}

TEST_F(handle_move, of_a_hole_reports_ENOENT_unless_holes_are_allowed) {
  const memory holes(memory_kind::anonymous, 1);
  const auto result = on_.move(to_.begin(), holes.range());
  EXPECT_EQ(result.number, ENOENT);
  EXPECT_EQ(result.bytes, 0u);
  EXPECT_TRUE(on_.move(to_.begin(), holes.range(), move_mode::allow_source_holes));
}

TEST_F(handle_move, from_unmapped_memory_reports_ENOENT) {
  EXPECT_EQ(on_.move(to_.begin(), test::unmapped_page()).number, ENOENT);
}

TEST_F(handle_move, onto_itself_reports_ENOENT) {
  EXPECT_EQ(on_.move(to_.begin(), to_.page(0)).number, ENOENT);
}

TEST_F(handle_move, onto_a_present_page_reports_already_present) {
  ASSERT_TRUE(on_.copy(to_.begin(), test::filled(page_size(), 7)));
  EXPECT_EQ(on_.move(to_.begin(), from_.page(0)).error(), condition::already_present);
  EXPECT_EQ(look(from_.begin()), shows(1));
  EXPECT_EQ(look(to_.begin()), shows(7));
}

TEST_F(handle_move, onto_a_poisoned_page_reports_already_present) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  ASSERT_TRUE(on_.poison(to_.page(0)));
  EXPECT_EQ(on_.move(to_.begin(), from_.page(0)).error(), condition::already_present);
}

TEST_F(handle_move, up_to_a_present_page_reports_retry_with_what_was_done) {
  ASSERT_TRUE(on_.copy(to_.at(2), test::filled(page_size(), 7)));
  const auto result = on_.move(to_.begin(), from_.range());
  EXPECT_EQ(result.error(), condition::retry);
  EXPECT_EQ(result.bytes, 2 * page_size());
}

TEST_F(handle_move, of_a_page_shared_by_fork_is_EBUSY_even_after_the_childs_end) {
  ASSERT_EQ(test::in_child([] {}), test::exits_with(0));
  EXPECT_EQ(on_.move(to_.begin(), from_.page(0)).number, EBUSY);
  test::write_byte(from_.begin(), 5);  // makes the page this process's own again
  EXPECT_TRUE(on_.move(to_.begin(), from_.page(0)));
}

TEST_F(handle_move, of_shared_memory_is_EINVAL) {
  const memory shared(memory_kind::shared, 1);
  test::write_byte(shared.begin(), 1);
  EXPECT_EQ(on_.move(to_.begin(), shared.range()).number, EINVAL);
}

TEST_F(handle_move, of_memory_with_another_protection_is_EINVAL) {
  ASSERT_EQ(::mprotect(from_.bytes().data(), from_.size(), PROT_READ), 0);
  EXPECT_EQ(on_.move(to_.begin(), from_.page(0)).number, EINVAL);
}

TEST_F(handle_move, to_memory_of_another_handle_is_EINVAL) {
  const auto other = handle::open();
  EXPECT_EQ(other.move(to_.begin(), from_.page(0)).number, EINVAL);
}

TEST_F(handle_move, across_the_end_of_a_registration_is_EINVAL) {
  ASSERT_TRUE(on_.unregister(to_.page(2, 2)));
  EXPECT_EQ(on_.move(to_.begin(), from_.range()).number, EINVAL);
}

TEST_F(handle_move, of_unaligned_or_empty_ranges_or_in_an_unknown_mode_is_EINVAL) {
  EXPECT_EQ(on_.move(to_.begin() + 1, from_.page(0)).number, EINVAL);
  EXPECT_EQ(on_.move(to_.begin(), {from_.begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on_.move(to_.begin(), {from_.begin(), 0}).number, EINVAL);
  const auto unknown = flags<move_mode>::from_bits(4);
  EXPECT_EQ(on_.move(to_.begin(), from_.page(0), unknown).number, EINVAL);
}

TEST_F(handle_move, onto_a_write_protect_marker_reports_already_present) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated));
  const auto on = handle::open({.required = feature::move | feature::wp_unpopulated});
  const memory marked(memory_kind::anonymous, 1);
  on.register_range(marked.range(), register_mode::missing | register_mode::write_protect);
  ASSERT_TRUE(on.write_protect(marked.range()));
  EXPECT_EQ(on.move(marked.begin(), from_.page(0)).error(), condition::already_present);
}

TEST_F(handle_move, through_a_childs_handle_is_EINVAL) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = handle::open({.required = feature::move | feature::event_fork});
  const memory mine(memory_kind::anonymous, 1);
  on.register_range(mine.range(), register_mode::missing);
  const test::followed_child child(on);
  const auto result = child.on().move(mine.begin(), from_.page(0));
  EXPECT_EQ(result.number, EINVAL);
  EXPECT_EQ(result.bytes, 0u);
}

}  // namespace
}  // namespace uffd
