// SPDX-License-Identifier: MIT
#include "tracking/write_states.hpp"

#include <gtest/gtest.h>

#include <cstddef>

namespace uffd::detail {
namespace {

constexpr write_state clean{write_phase::clean, false};
constexpr write_state written{write_phase::written, true};

TEST(write_states, are_clean_at_first) {
  const write_states states(3);
  for (std::size_t page = 0; page < 3; ++page) EXPECT_EQ(states[page], clean);
}

TEST(write_states, are_held_by_one_at_a_time) {
  write_states states(2);
  EXPECT_EQ(states.try_hold(1), clean);
  EXPECT_EQ(states[1].phase, write_phase::held);
  EXPECT_FALSE(states.try_hold(1));
  EXPECT_FALSE(states.try_claim(1));
  EXPECT_EQ(states[0], clean);
}

TEST(write_states, are_still_told_while_what_was_written_is_held_by_a_handler) {
  write_states states(1);
  states.set(0, written);
  EXPECT_EQ(states.try_hold(0), written);
  EXPECT_EQ(states[0].phase, write_phase::opening);
  EXPECT_FALSE(states.try_hold(0));
  EXPECT_FALSE(states.try_claim(0));
}

TEST(write_states, may_be_filled_by_one_other_while_they_are_shown) {
  write_states states(1);
  EXPECT_TRUE(states.try_hold(0));
  EXPECT_FALSE(states.try_fill(0));
  states.set(0, {write_phase::shown, true});
  EXPECT_FALSE(states.try_hold(0));
  EXPECT_TRUE(states.try_fill(0));
  EXPECT_FALSE(states.try_fill(0));
  EXPECT_FALSE(states.try_end_showing(0));
  states.set(0, {write_phase::shown, true});
  EXPECT_FALSE(states.try_claim(0));
  EXPECT_TRUE(states.try_end_showing(0));
  EXPECT_EQ(states[0], (write_state{write_phase::held, true}));
}

TEST(write_states, are_claimed_only_where_they_are_written) {
  write_states states(1);
  EXPECT_FALSE(states.try_claim(0));
  states.set(0, written);
  EXPECT_TRUE(states.try_claim(0));
  EXPECT_EQ(states[0].phase, write_phase::held);
  EXPECT_FALSE(states.try_hold(0));
}

TEST(write_states, forget_only_what_is_clean) {
  write_states states(1);
  EXPECT_FALSE(states.forget(0));
  states.mark_there(0);
  EXPECT_EQ(states[0], (write_state{write_phase::clean, true}));
  EXPECT_TRUE(states.forget(0));
  EXPECT_EQ(states[0], clean);
  states.set(0, written);
  EXPECT_FALSE(states.forget(0));
  EXPECT_EQ(states[0], written);
}

TEST(write_states, are_put_back_but_where_a_handler_has_them) {
  write_states states(1);
  states.mark_there(0);
  states.put_back(0);
  EXPECT_EQ(states[0], written);
  EXPECT_TRUE(states.try_claim(0));
  states.put_back(0);
  EXPECT_EQ(states[0].phase, write_phase::held);
}

}  // namespace
}  // namespace uffd::detail
