// SPDX-License-Identifier: MIT
#include "detail/event_queue.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

namespace uffd::detail {
namespace {

queued_event event_number(int number) {
  queued_event event;
  event.raw.event = static_cast<std::uint8_t>(number);
  return event;
}

TEST(event_queue, keeps_the_order_also_around_its_end) {
  event_queue queue(3);
  int pushed = 0;
  int popped = 0;
  for (int round = 0; round < 10; ++round) {
    while (queue.push(event_number(pushed))) ++pushed;
    for (int i = 0; i < 2; ++i) {
      const auto event = queue.pop();
      ASSERT_TRUE(event);
      EXPECT_EQ(event->raw.event, popped++);
    }
  }
  EXPECT_EQ(pushed - popped, 1);
}

TEST(event_queue, refuses_more_than_its_capacity) {
  event_queue queue(2);
  EXPECT_TRUE(queue.push(event_number(1)));
  EXPECT_TRUE(queue.push(event_number(2)));
  EXPECT_FALSE(queue.push(event_number(3)));
  EXPECT_EQ(queue.unfinished(), 2U) << "a refused one counts";
}

TEST(event_queue, tells_what_removal_was_pushed_last_until_it_is_popped) {
  const auto removal = [](std::uint64_t start) {
    auto event = event_number(uapi::event::remove);
    event.raw.argument.remove.start = start;
    event.raw.argument.remove.end = 5 * page_size();
    return event;
  };
  event_queue queue(2);
  const auto space = std::make_shared<address_space>(handle_access::none(), 1);
  const auto other = std::make_shared<address_space>(handle_access::none(), 2);
  auto one = removal(page_size());
  one.space = space;
  EXPECT_FALSE(queue.ends_with_removal(*space, one.raw));
  EXPECT_TRUE(queue.push(one));
  EXPECT_TRUE(queue.ends_with_removal(*space, one.raw));
  EXPECT_FALSE(queue.ends_with_removal(*other, one.raw));
  EXPECT_FALSE(queue.ends_with_removal(*space, removal(2 * page_size()).raw));
  EXPECT_TRUE(queue.has_room_for(1));
  EXPECT_FALSE(queue.has_room_for(2));
  EXPECT_TRUE(queue.pop());
  EXPECT_FALSE(queue.ends_with_removal(*space, one.raw));
}

TEST(event_queue, of_nothing_pops_nothing) {
  event_queue queue(2);
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.pop());
}

TEST(event_queue, counts_an_event_until_it_was_handled) {
  event_queue queue(2);
  EXPECT_TRUE(queue.push(event_number(1)));
  EXPECT_EQ(queue.unfinished(), 1U);
  EXPECT_TRUE(queue.pop());
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.unfinished(), 1U) << "it is being handled still";
  queue.finish();
  EXPECT_EQ(queue.unfinished(), 0U);
}

TEST(event_queue, keeps_the_address_space_only_while_it_is_queued) {
  event_queue queue(2);
  const auto space = std::make_shared<address_space>(handle_access::none(), 1);
  EXPECT_TRUE(queue.push({space, {}}));
  EXPECT_EQ(space.use_count(), 2);
  EXPECT_EQ(queue.pop()->space, space);
  EXPECT_EQ(space.use_count(), 1);
}

TEST(event_queue, loses_none_between_threads) {
  event_queue queue(4);
  constexpr int count = 5000;
  int sum = 0;
  std::jthread producer([&] {
    for (int i = 0; i < count;)
      if (queue.push(event_number(1)))
        ++i;
      else
        std::this_thread::yield();
  });
  while (sum < count) {
    if (const auto event = queue.pop()) {
      sum += event->raw.event;
      queue.finish();
    } else {
      std::this_thread::yield();
    }
  }
  producer.join();
  EXPECT_EQ(queue.unfinished(), 0U);
}

}  // namespace
}  // namespace uffd::detail
