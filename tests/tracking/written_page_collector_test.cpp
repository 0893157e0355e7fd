// SPDX-License-Identifier: MIT
// What who collects has to do with the buffers' room and with memory that was changed meanwhile.
#include "tracking/written_page_collector.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/tracking.hpp"
#include "uffd/mapping.hpp"
#include "uffd/tracking/write_tracker.hpp"

namespace uffd {
namespace {

using test::collected;
using test::runs;
using test::write;

class written_page_collector : public testing::Test {
 protected:
  // More than one batch.
  static constexpr std::size_t pages = 1300;

  void SetUp() override { UFFDPP_REQUIRE(test::can_track(tracker_engine::synchronous)); }
  std::uintptr_t at(std::size_t page) const {
    return memory.range().begin() + page * uffd::page_size();
  }
  page_range page(std::size_t index, std::size_t count = 1) const {
    return {at(index), count * uffd::page_size()};
  }
  void drop(page_range dropped) const {
    ASSERT_EQ(::madvise(reinterpret_cast<void*>(dropped.begin()), dropped.size(), MADV_DONTNEED),
              0);
  }
  // By calls with a buffer of that many.
  static runs collected_by(const tracked_memory& tracked, std::size_t room) {
    std::vector<page_range> buffer(room);
    runs all;
    for (auto part = tracked.range(); !part.empty();) {
      const auto found = tracked.collect(part, buffer);
      all.insert(all.end(), found.written.begin(), found.written.end());
      part = found.rest;
    }
    return all;
  }

  const mapping memory = mapping::anonymous(pages * uffd::page_size());
};

TEST_F(written_page_collector, tells_every_run_once_whatever_room_there_is) {
  runs expected;
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(memory);
  for (std::size_t each = 1; each < pages; each += 7) expected.push_back(page(each));
  for (const std::size_t room : {1U, 3U, 1000U}) {
    for (std::size_t each = 1; each < pages; each += 7) write(at(each));
    EXPECT_EQ(collected_by(tracked, room), expected) << room;
    EXPECT_EQ(collected(tracked), runs{}) << room;
  }
}

TEST_F(written_page_collector, joins_what_touches_from_one_batch_to_the_next) {
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(memory);
  for (std::size_t each = 500; each < 1100; ++each) write(at(each));
  EXPECT_EQ(collected_by(tracked, 4), runs{page(500, 600)});
}

TEST_F(written_page_collector, tells_nothing_that_is_read_for_the_first_time_meanwhile) {
  for (int round = 0; round < 10; ++round) {
    const write_tracker tracker(tracker_engine::synchronous);
    const auto tracked = tracker.track(memory);
    std::atomic<bool> is_over{false};
    std::jthread reader([&] {
      for (std::size_t each = 0; each < pages; ++each) static_cast<void>(test::read_byte(at(each)));
      is_over = true;
    });
    while (!is_over) ASSERT_EQ(collected(tracked), runs{});
    reader.join();
    drop(memory.range());
    static_cast<void>(collected(tracked));
  }
}

// What was dropped is not held meanwhile, so that it is found in excess of the room.
TEST_F(written_page_collector, keeps_what_has_no_room_for_later) {
  for (std::size_t each = 0; each < pages; ++each) write(at(each), 1);
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(memory);
  runs expected;
  for (std::size_t each = 0; each < pages; each += 4) {
    drop(page(each));
    write(at(each + 2));
    expected.push_back(page(each));
    expected.push_back(page(each + 2));
  }
  EXPECT_EQ(collected_by(tracked, 3), expected);
  EXPECT_EQ(collected(tracked), runs{});
}

TEST_F(written_page_collector, protects_again_across_borders_of_mappings) {
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(memory);
  for (int round = 0; round < 2; ++round) {
    for (std::size_t each = 10; each < 30; ++each) write(at(each));
    // The mapping becomes three.
    ASSERT_EQ(::mprotect(reinterpret_cast<void*>(at(20)), uffd::page_size(), PROT_READ), 0);
    EXPECT_EQ(collected(tracked), runs{page(10, 20)});
    EXPECT_EQ(collected(tracked), runs{});
    ASSERT_EQ(
        ::mprotect(reinterpret_cast<void*>(at(20)), uffd::page_size(), PROT_READ | PROT_WRITE), 0);
  }
}

TEST_F(written_page_collector, does_not_tell_what_was_unmapped) {
  const auto& holed = test::memory_for_good(test::memory_kind::anonymous, 3);
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(holed.mapping());
  write(holed.at(1));
  write(holed.at(2));
  ASSERT_EQ(::munmap(holed.bytes().data() + 2 * uffd::page_size(), uffd::page_size()), 0);
  EXPECT_EQ(collected(tracked), runs{holed.page(1)});
  write(holed.at(1));
  EXPECT_EQ(collected(tracked), runs{holed.page(1)});
}

}  // namespace
}  // namespace uffd
