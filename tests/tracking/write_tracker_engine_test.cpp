// SPDX-License-Identifier: MIT
// What either engine does with anonymous memory; what both do with every kind is in
// write_tracker_test.cpp.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <utility>

#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/tracking.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/region.hpp"
#include "uffd/tracking/write_tracker.hpp"

namespace uffd {
namespace {

using test::collected;
using test::runs;
using test::write;

class write_tracker_with : public test::every_tracker {};
UFFDPP_FOR_EVERY_TRACKER(write_tracker_with);

TEST_P(write_tracker_with, either_engine_tells_what_was_mapped_over_as_EPERM) {
  const auto memory = mapping::anonymous(4 * page_size());
  const write_tracker tracker(GetParam());
  const auto tracked = tracker.track(memory);
  void* const at = memory.bytes().data() + page_size();
  ASSERT_EQ(::mmap(at, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                   -1, 0),
            at);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(collected(tracked)); }), EPERM);
}

// The page tables are dropped with it, where the kernel does that (6.14).
TEST_P(write_tracker_with, either_engine_tells_what_is_dropped_with_its_page_tables) {
  constexpr std::size_t huge = test::huge_page_size;
  const auto memory = mapping::anonymous(4 * huge);
  const page_range table(align_up(memory.range().begin() + huge, huge), huge);
  static_cast<void>(::madvise(memory.bytes().data(), memory.bytes().size(), MADV_NOHUGEPAGE));
  for (const auto page : test::pages_of(memory.range())) write(page, 1);
  const write_tracker tracker(GetParam());
  const auto tracked = tracker.track(memory);
  ASSERT_EQ(::madvise(reinterpret_cast<void*>(table.begin()), huge, MADV_DONTNEED), 0);
  EXPECT_EQ(collected(tracked), runs{table});
  EXPECT_EQ(collected(tracked), runs{});
  EXPECT_EQ(test::look(table.begin()), test::shows(0));
  EXPECT_EQ(collected(tracked), runs{});
  write(table.begin() + huge / 2);
  EXPECT_EQ(collected(tracked), (runs{{table.begin() + huge / 2, page_size()}}));
}

TEST_P(write_tracker_with, either_engine_tells_what_it_found_before_an_error_first) {
  const auto memory = mapping::anonymous(4 * page_size());
  const write_tracker tracker(GetParam());
  const auto tracked = tracker.track(memory);
  const auto page = [&](std::size_t i) { return memory.range().begin() + i * page_size(); };
  write(page(0));
  write(page(2));
  ASSERT_NE(::mmap(reinterpret_cast<void*>(page(3)), page_size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  std::array<page_range, 8> buffer;
  const auto found = tracked.collect(tracked.range(), buffer);
  const runs written(found.written.begin(), found.written.end());
  EXPECT_EQ(written, (runs{{page(0), page_size()}, {page(2), page_size()}}));
  EXPECT_EQ(test::thrown([&] { static_cast<void>(tracked.collect(found.rest, buffer)); }), EPERM);
  runs seen;
  write(page(1));
  EXPECT_EQ(test::thrown([&] { tracked.collect([&](page_range run) { seen.push_back(run); }); }),
            EPERM);
  EXPECT_EQ(seen, (runs{{page(1), page_size()}}));
}

// Moved next to what is tracked it would become one mapping with that, and the kernel (6.18) tracks
// neither any more.
TEST_P(write_tracker_with, either_engine_does_not_follow_what_is_moved) {
  const auto& memory = test::memory_for_good(test::memory_kind::anonymous, 2);
  const auto room = mapping::anonymous(3 * page_size());
  const write_tracker tracker(GetParam());
  const auto tracked = tracker.track(memory.mapping());
  void* const to = room.bytes().data() + page_size();
  void* const moved = ::mremap(memory.bytes().data() + page_size(), page_size(), page_size(),
                               MREMAP_MAYMOVE | MREMAP_FIXED, to);
  ASSERT_EQ(moved, to);
  write(room.range().begin() + page_size());
  write(memory.range().begin());
  EXPECT_EQ(collected(tracked), (runs{{memory.range().begin(), page_size()}}));
}

TEST_P(write_tracker_with, either_engine_refuses_other_parts_and_buffers_without_room) {
  const auto memory = mapping::anonymous(4 * page_size());
  const write_tracker tracker(GetParam());
  const auto tracked = tracker.track(memory);
  std::array<page_range, 2> into;
  const auto begin = memory.range().begin();
  for (const page_range part :
       {page_range(begin - page_size(), page_size()), page_range(begin, 5 * page_size()),
        page_range(begin + 1, page_size()), page_range(begin, 1)})
    EXPECT_EQ(test::thrown([&] { static_cast<void>(tracked.collect(part, into)); }), EINVAL)
        << to_string(part);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(tracked.collect(tracked.range(), {})); }), EINVAL);
}

TEST_P(write_tracker_with, either_engine_refuses_what_is_registered_or_not_aligned_or_not_mapped) {
  const auto memory = mapping::anonymous(2 * page_size());
  const auto begin = memory.range().begin();
  const write_tracker tracker(GetParam());
  EXPECT_EQ(test::thrown([&] { static_cast<void>(tracker.track({begin, 1})); }), EINVAL);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(tracker.track(test::unmapped_page())); }), EINVAL);
  const auto on = handle::open();
  const region registered(on, memory);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(tracker.track(memory)); }), EBUSY);
}

TEST_P(write_tracker_with, either_engine_is_known_by_name) {
  EXPECT_EQ(write_tracker(GetParam()).engine(), GetParam());
}

TEST_P(write_tracker_with, either_engine_is_the_one_that_the_kernel_has) {
  const bool has = test::can_track(tracker_engine::asynchronous).empty();
  EXPECT_EQ(write_tracker().engine(),
            has ? tracker_engine::asynchronous : tracker_engine::synchronous);
}

TEST_P(write_tracker_with, either_engine_may_end_before_what_it_tracks) {
  const auto memory = mapping::anonymous(page_size());
  std::optional<write_tracker> tracker(std::in_place, GetParam());
  auto tracked = tracker->track(memory);
  tracker.reset();
  const auto moved = std::move(tracked);
  write(memory.range().begin());
  EXPECT_EQ(collected(moved), runs{memory.range()});
}

}  // namespace
}  // namespace uffd
