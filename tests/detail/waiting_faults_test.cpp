// SPDX-License-Identifier: MIT
#include "detail/waiting_faults.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace uffd::detail {
namespace {

waiting_fault fault_at(std::uintptr_t address, std::int64_t due, flags<fault_flag> cause = {}) {
  waiting_fault fault;
  fault.event.address = address;
  fault.event.cause = cause;
  fault.due = due;
  return fault;
}

TEST(waiting_faults, gives_the_one_due_the_longest_first) {
  waiting_faults waiting(8);
  EXPECT_TRUE(waiting.add(fault_at(1, 30)));
  EXPECT_TRUE(waiting.add(fault_at(2, 10)));
  EXPECT_TRUE(waiting.add(fault_at(3, 20)));
  EXPECT_EQ(waiting.size(), 3U);
  for (const std::uintptr_t address : {2U, 3U, 1U}) {
    const auto taken = waiting.take(100);
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->event.address, address);
  }
  EXPECT_EQ(waiting.size(), 0U);
  EXPECT_FALSE(waiting.take(100));
}

TEST(waiting_faults, gives_none_before_it_is_due) {
  waiting_faults waiting(8);
  EXPECT_EQ(waiting.next_due(), INT64_MAX);
  EXPECT_TRUE(waiting.add(fault_at(1, 30)));
  EXPECT_EQ(waiting.next_due(), 30);
  EXPECT_FALSE(waiting.take(29));
  EXPECT_TRUE(waiting.take(30));
  EXPECT_EQ(waiting.next_due(), INT64_MAX);
}

TEST(waiting_faults, keeps_the_same_fault_once_and_for_its_earlier_time) {
  waiting_faults waiting(8);
  EXPECT_TRUE(waiting.add(fault_at(1, 30)));
  EXPECT_TRUE(waiting.add(fault_at(1, 20)));
  EXPECT_TRUE(waiting.add(fault_at(1, 40)));
  EXPECT_EQ(waiting.size(), 1U);
  EXPECT_EQ(waiting.take(100)->due, 20);
  EXPECT_EQ(waiting.size(), 0U);
}

// A timer set for the later time would be late.
TEST(waiting_faults, says_when_a_duplicate_is_due_earlier) {
  waiting_faults waiting(8);
  EXPECT_TRUE(waiting.add(fault_at(1, 30)));
  EXPECT_TRUE(waiting.add(fault_at(1, 20)));
  EXPECT_EQ(waiting.next_due(), 20);
}

TEST(waiting_faults, tells_causes_and_address_spaces_apart) {
  waiting_faults waiting(8);
  auto elsewhere = fault_at(1, 30);
  elsewhere.space = std::make_shared<address_space>(handle_access::none(), 1);
  EXPECT_TRUE(waiting.add(fault_at(1, 30)));
  EXPECT_TRUE(waiting.add(fault_at(1, 30, fault_flag::write)));
  EXPECT_TRUE(waiting.add(fault_at(1, 30, fault_flag::write | fault_flag::write_protect)));
  EXPECT_TRUE(waiting.add(elsewhere));
  EXPECT_EQ(waiting.size(), 4U);
}

TEST(waiting_faults, refuses_more_than_it_has_room_for) {
  waiting_faults waiting(2);
  EXPECT_TRUE(waiting.add(fault_at(1, 1)));
  EXPECT_TRUE(waiting.add(fault_at(2, 1)));
  EXPECT_FALSE(waiting.add(fault_at(3, 1)));
  EXPECT_TRUE(waiting.add(fault_at(2, 1))) << "it is there already";
  EXPECT_TRUE(waiting.take(1));
  EXPECT_TRUE(waiting.add(fault_at(3, 1)));
}

TEST(waiting_faults, makes_all_due_at_once) {
  waiting_faults waiting(4);
  EXPECT_TRUE(waiting.add(fault_at(1, 1000)));
  EXPECT_TRUE(waiting.add(fault_at(2, 2000)));
  waiting.make_due();
  EXPECT_LE(waiting.next_due(), 1);
  EXPECT_TRUE(waiting.take(1));
  EXPECT_TRUE(waiting.take(1));
}

TEST(waiting_faults, keep_their_attempts) {
  waiting_faults waiting(4);
  auto fault = fault_at(1, 1);
  fault.attempts = 7;
  EXPECT_TRUE(waiting.add(fault));
  EXPECT_EQ(waiting.take(1)->attempts, 7U);
}

}  // namespace
}  // namespace uffd::detail
