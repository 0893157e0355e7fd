// SPDX-License-Identifier: MIT
// What the asynchronous engine alone does: what both do is in write_tracker_test.cpp.
#include "tracking/asynchronous_tracking.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>

#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/refusal.hpp"
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

class asynchronous_tracking : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::can_track(tracker_engine::asynchronous)); }
};

TEST_F(asynchronous_tracking, tells_a_transparent_huge_page_whole_and_then_in_parts) {
  constexpr std::size_t huge = test::huge_page_size;
  const auto memory = mapping::anonymous(2 * huge);
  const page_range page(align_up(memory.range().begin(), huge), huge);
  if (::madvise(reinterpret_cast<void*>(page.begin()), huge, MADV_HUGEPAGE) != 0)
    GTEST_SKIP() << "this kernel has no transparent huge pages";
  write(page.begin(), 1);
  if (!test::is_huge_mapped(page)) GTEST_SKIP() << "no huge page was to be had";
  const write_tracker tracker(tracker_engine::asynchronous);
  const auto tracked = tracker.track(page);
  EXPECT_EQ(collected(tracked), runs{});
  write(page.begin() + huge / 2);
  const auto found = collected(tracked);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found.front().contains(page.begin() + huge / 2));
  EXPECT_EQ(collected(tracked), runs{});
  write(page.begin() + huge / 2);
  const page_range second_half(page.begin() + huge / 2, huge / 2);
  EXPECT_EQ(collected(tracked, second_half).size(), 1U);
  EXPECT_EQ(collected(tracked, second_half), runs{});
}

TEST_F(asynchronous_tracking, refuses_parts_of_huge_pages_that_it_was_not_told_of) {
  UFFDPP_REQUIRE(test::available(test::memory_kind::huge, 1, register_mode::write_protect));
  const auto memory = mapping::huge(test::huge_page_size, test::huge_page_size);
  const write_tracker tracker(tracker_engine::asynchronous);
  const auto tracked = tracker.track(memory.range());
  write(memory.range().begin());
  EXPECT_EQ(test::thrown([&] {
              collected(tracked, {memory.range().begin(), page_size()});
            }),
            ENOTSUP);
  EXPECT_EQ(collected(tracked), runs{memory.range()});
}

TEST(asynchronous_tracking_without, the_kernel_s_help_is_refused_by_name) {
  UFFDPP_REQUIRE(test::kernel_lacks(feature::wp_async));
  const auto refused =
      test::refusal_of([] { const write_tracker tracker(tracker_engine::asynchronous); });
  EXPECT_EQ(refused.number, ENOTSUP);
  EXPECT_TRUE(refused.names("wp_async")) << refused.words;
}

}  // namespace
}  // namespace uffd
