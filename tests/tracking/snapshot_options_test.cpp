// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot_options.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <mutex>

#include "support/memory.hpp"
#include "support/pictured.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/scratch_folder.hpp"
#include "uffd/page_range.hpp"
#include "uffd/tracking/snapshot.hpp"

namespace uffd {
namespace {

class snapshot_options_with : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::anonymous, 4)); }

  const test::memory memory_{test::memory_kind::anonymous, 4};
  const std::array<snapshot_area, 1> areas_{
      snapshot_area{{memory_.begin(), 4 * page_size()}, page_size()}};
};

TEST_F(snapshot_options_with, nothing_said_save_what_changed) {
  const test::scratch_folder folder;
  snapshotter snapshots(areas_);
  std::mutex writers;
  test::write(memory_.at(1));
  const auto first = snapshots.take(folder / "first", writers).wait();
  EXPECT_FALSE(first.is_delta);
  EXPECT_EQ(first.saved_bytes, page_size());
  const auto second = snapshots.take(folder / "second", writers).wait();
  EXPECT_TRUE(second.is_delta);
  EXPECT_EQ(second.saved_bytes, 0U);
}

TEST_F(snapshot_options_with, less_extra_memory_than_a_page_are_EINVAL) {
  snapshot_options options;
  options.extra_memory = page_size() - 1;
  EXPECT_EQ(test::thrown([&] { const snapshotter refused(areas_, options); }), EINVAL);
}

TEST_F(snapshot_options_with, writes_of_which_nobody_is_told_are_EINVAL) {
  snapshot_options options;
  options.open.required = feature::wp_async;
  EXPECT_EQ(test::thrown([&] { const snapshotter refused(areas_, options); }), EINVAL);
}

}  // namespace
}  // namespace uffd
