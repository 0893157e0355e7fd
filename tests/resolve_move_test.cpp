// SPDX-License-Identifier: MIT
// resolve::move, whose ioctl answers other errnos than its siblings.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <optional>
#include <system_error>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/resolve.hpp"

namespace uffd {
namespace {

using state = resolution::state;
using test::look;
using test::memory;
using test::memory_kind;
using test::shows;

constexpr std::size_t pages = 4;

// `to_` is registered for missing faults; `from_` holds 1, 2, 3, 4 in its pages.
class resolve_move : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::move));
    on_.emplace(handle::open({.required = feature::move, .optional = feature::event_remove}));
    on_->register_range(to_->range(), register_mode::missing);
    ::madvise(from_.bytes().data(), from_.size(), MADV_NOHUGEPAGE);
    for (std::size_t i = 0; i < pages; ++i) test::write_byte(from_.at(i), static_cast<int>(i) + 1);
  }

  std::optional<memory> to_{std::in_place, memory_kind::anonymous, pages};
  const memory from_{memory_kind::anonymous, pages};
  std::optional<handle> on_;
};

TEST_F(resolve_move, is_resolved_and_wakes) {
  test::toucher reader(to_->at(1));
  ASSERT_TRUE(test::next_fault(*on_));
  EXPECT_TRUE(resolve::move(*on_, to_->begin(), from_.range()).is_resolved());
  EXPECT_EQ(reader.saw(), shows(2));
}

TEST_F(resolve_move, goes_on_behind_pages_that_are_present_and_wakes_who_waits_for_them) {
  test::toucher reader(to_->at(1));
  ASSERT_TRUE(test::next_fault(*on_));
  ASSERT_TRUE(on_->copy(to_->at(1), test::filled(page_size(), 7), fill_mode::dont_wake));
  EXPECT_TRUE(resolve::move(*on_, to_->begin(), from_.range()).is_resolved());
  EXPECT_EQ(reader.saw(), shows(7));
  EXPECT_EQ(look(to_->at(0)), shows(1));
  EXPECT_EQ(look(to_->at(3)), shows(4));
  EXPECT_EQ(look(from_.at(1)), shows(2));
}

// Woken without a page, whoever waits would fault again without end.
TEST_F(resolve_move, of_a_hole_fails_with_EFAULT) {
  const memory holes(memory_kind::anonymous, 1);
  const auto result = resolve::move(*on_, to_->begin(), holes.range());
  EXPECT_EQ(result.kind(), state::failed);
  EXPECT_EQ(result.error(), std::errc::bad_address);
  EXPECT_TRUE(resolve::move(*on_, to_->begin(), holes.range(), move_mode::allow_source_holes)
                  .is_resolved());
}

TEST_F(resolve_move, with_a_hole_further_on_fails_with_EFAULT) {
  ASSERT_EQ(::madvise(from_.bytes().data() + 2 * page_size(), page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(resolve::move(*on_, to_->begin(), from_.range()).error(), std::errc::bad_address);
}

TEST_F(resolve_move, to_memory_that_is_no_longer_registered_is_gone) {
  ASSERT_TRUE(on_->unregister(to_->range()));
  EXPECT_EQ(resolve::move(*on_, to_->begin(), from_.page(0)).kind(), state::gone);
  EXPECT_EQ(resolve::move(*on_, to_->begin(), from_.range()).kind(), state::gone);
}

TEST_F(resolve_move, to_memory_that_was_unmapped_is_gone_and_wakes_the_waiter) {
  test::toucher reader(to_->begin());
  ASSERT_TRUE(test::next_fault(*on_));
  const auto range = to_->range();
  const test::fence fenced(range);
  to_.reset();
  EXPECT_EQ(resolve::move(*on_, range.begin(), from_.range()).kind(), state::gone);
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

TEST_F(resolve_move, across_the_end_of_a_registration_moves_what_is_registered) {
  ASSERT_TRUE(on_->unregister(to_->page(2, 2)));
  EXPECT_TRUE(resolve::move(*on_, to_->begin(), from_.range()).is_resolved());
  EXPECT_EQ(look(to_->at(1)), shows(2));
  EXPECT_EQ(look(to_->at(2)), shows(0));
  EXPECT_EQ(look(from_.at(2)), shows(3));
}

TEST_F(resolve_move, of_shared_memory_fails_with_EINVAL) {
  const memory shared(memory_kind::shared, 1);
  test::write_byte(shared.begin(), 1);
  EXPECT_EQ(resolve::move(*on_, to_->begin(), shared.range()).error(), std::errc::invalid_argument);
}

TEST_F(resolve_move, of_a_page_shared_by_fork_fails_with_EBUSY) {
  ASSERT_EQ(test::in_child([] {}), test::exits_with(0));
  EXPECT_EQ(resolve::move(*on_, to_->begin(), from_.page(0)).error(),
            std::errc::device_or_resource_busy);
}

TEST_F(resolve_move, with_an_event_unread_is_retry) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove));
  test::background remover([&] { ::madvise(to_->bytes().data(), page_size(), MADV_DONTNEED); });
  ASSERT_TRUE(test::readable(on_->fd()));
  EXPECT_EQ(resolve::move(*on_, to_->at(1), from_.page(1)).kind(), state::retry);
  EXPECT_TRUE(test::next<remove_event>(*on_));
}

}  // namespace
}  // namespace uffd
