// SPDX-License-Identifier: MIT
// Pages that were dropped: a callback knows, so that it doesn't show again what was there before.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <utility>

#include "support/event_causes.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

fault_handler_options tracking() {
  auto options = test::one_thread();
  options.tracks_removals = true;
  return options;
}

constexpr int zeroes = 99;  // what a dropped page is filled with here, to be told from none

// What a page server does: the content once, and zeroes after a drop.
auto content_once() {
  return overloaded{[](fault& raised) {
                      return raised.was_removed() ? test::fill(raised, zeroes)
                                                  : test::fill_by_offset()(raised);
                    },
                    [](const remap_event&) {}, [](const remove_event&) {}};
}

class removed_page_on : public testing::TestWithParam<test::memory_kind> {};
UFFDPP_ON_KINDS(removed_page_on,
                (std::array{test::memory_kind::anonymous, test::memory_kind::huge}));

TEST_P(removed_page_on, is_known_to_the_callback_and_no_other_is) {
  UFFDPP_REQUIRE(test::available(GetParam(), 4));
  UFFDPP_REQUIRE(test::droppable(GetParam()));
  test::serving served(GetParam(), 4, content_once(), register_mode::missing, tracking());
  EXPECT_EQ(test::look(served.at(1)), test::shows(test::byte_of(1)));
  test::drop(served.memory().page(1, 2));
  EXPECT_EQ(test::look(served.at(0)), test::shows(test::byte_of(0)));
  EXPECT_EQ(test::look(served.at(1)), test::shows(zeroes));
  EXPECT_EQ(test::look(served.at(2)), test::shows(zeroes)) << "dropped before it was touched";
  EXPECT_EQ(test::look(served.at(3)), test::shows(test::byte_of(3)));
}

TEST(removed_page, stays_so_where_it_is_moved) {
  const test::memory target(test::memory_kind::anonymous, 4);
  test::serving served(test::memory_kind::anonymous, 4, content_once(), register_mode::missing,
                       tracking());
  test::drop(served.memory().page(1));
  test::move_memory(served.memory().page(1, 2), target.at(0));
  EXPECT_EQ(test::look(target.at(0)), test::shows(zeroes));
  EXPECT_EQ(test::look(target.at(1)), test::shows(test::byte_of(2)));
}

TEST(removed_page, is_so_in_a_child_and_one_that_the_child_drops_is_not_in_the_parent) {
  UFFDPP_REQUIRE(test::followed_forks());
  test::serving served(test::memory_kind::anonymous, 4, content_once(), register_mode::missing,
                       tracking());
  test::drop(served.memory().page(1));
  const auto child = test::in_child([&] {
    test::drop(served.memory().page(2));
    const bool right = test::look(served.at(1)) == test::shows(zeroes) &&
                       test::look(served.at(2)) == test::shows(zeroes) &&
                       test::look(served.at(3)) == test::shows(test::byte_of(3));
    return right ? 0 : 1;
  });
  EXPECT_EQ(child, test::exits_with(0));
  EXPECT_EQ(test::look(served.at(2)), test::shows(test::byte_of(2)));
}

TEST(removed_page, is_known_to_a_successor) {
  const test::memory memory(test::memory_kind::anonymous, 4);
  fault_handler first(content_once(), tracking());
  const auto region = first.serve(memory.range());
  test::drop(memory.page(1));
  fault_handler second(first.hand_over(), content_once(), tracking());
  EXPECT_EQ(test::look(memory.at(1)), test::shows(zeroes));
  test::drop(memory.page(2));
  EXPECT_EQ(test::look(memory.at(2)), test::shows(zeroes));
  EXPECT_EQ(test::look(memory.at(3)), test::shows(test::byte_of(3)));
}

// Blocks of readahead end where content begins to differ.
TEST(removed_page, is_not_in_the_block_of_others) {
  test::serving served(
      test::memory_kind::anonymous, 8,
      overloaded{[](fault& raised) {
                   return test::fill(raised, static_cast<int>(raised.block(8 * page_size()).size() /
                                                              page_size()));
                 },
                 [](const remove_event&) {}},
      register_mode::missing, tracking());
  test::drop(served.memory().page(2, 3));
  EXPECT_EQ(test::look(served.at(0)), test::shows(2));
  EXPECT_EQ(test::look(served.at(3)), test::shows(3));
  EXPECT_EQ(test::look(served.at(7)), test::shows(3));
}

TEST(removed_page, is_not_told_unless_it_was_asked_for) {
  test::serving served(1, content_once());
  test::drop(served.memory().page(0));
  EXPECT_EQ(test::look(served.at(0)), test::shows(test::byte_of(0)));
}

TEST(removed_pages, are_refused_without_their_events_with_EINVAL) {
  EXPECT_EQ(test::thrown([] { fault_handler(handle::open(), test::fill_by_offset(), tracking()); }),
            EINVAL);
}

TEST(removed_pages, need_no_callback_of_their_own) {
  test::serving served(
      test::memory_kind::anonymous, 2,
      [](fault& raised) { return test::fill(raised, raised.was_removed() ? 2 : 1); },
      register_mode::missing, tracking());
  test::drop(served.memory().page(0));
  EXPECT_EQ(test::look(served.at(0)), test::shows(2));
  EXPECT_EQ(test::look(served.at(1)), test::shows(1));
}

}  // namespace
}  // namespace uffd
