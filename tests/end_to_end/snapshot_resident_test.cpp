// SPDX-License-Identifier: MIT
// What the kernel counts as resident grows by what a snapshot may take at most, while all that it
// saves is written, and is given back afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/memory.hpp"
#include "support/pictured.hpp"
#include "support/requires.hpp"
#include "support/resident.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"
#include "tracking/page_saver.hpp"
#include "tracking/snapshot_writer.hpp"
#include "uffd/tracking/snapshot_file.hpp"

namespace uffd {
namespace {

constexpr std::size_t size = std::size_t{16} << 20;
constexpr std::size_t extra = std::size_t{4} << 20;
// What threads and allocators take on the way, and what the kernel has not counted yet.
constexpr std::size_t inexact = std::size_t{1} << 20;

TEST(snapshot, takes_no_more_memory_than_it_may_while_everything_is_written) {
  if (test::address_sanitizer || test::thread_sanitizer) GTEST_SKIP() << "they take memory, too";
  UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::anonymous, 1));
  const std::size_t pages = size / page_size();
  const test::memory memory(test::memory_kind::anonymous, pages);
  const auto write_all = [&](int value) {
    for (std::size_t page = pages; page-- > 0;) test::write(memory.at(page), value);
  };
  write_all(1);
  test::pictured snapshots(memory, {.extra_memory = extra});
  snapshots.take();
  const auto before = test::resident_bytes();
  const auto most = before + extra + detail::page_saver::batch_bytes + inexact;

  test::signal reached;
  test::signal release;
  const auto running = snapshots.begin({.reached = &reached, .release = &release},
                                       test::nothing_to_stop, test::nothing_to_stop, true);
  ASSERT_TRUE(reached.comes());
  test::background writer([&] { write_all(2); });
  std::size_t seen = 0;
  const auto look = [&] { return seen = std::max(seen, test::resident_bytes()); };
  EXPECT_TRUE(test::eventually([&] { return look() >= before + extra - inexact; }));
  EXPECT_TRUE(writer.blocks());
  look();
  release.set();
  while (!running->is_over()) look();
  EXPECT_LE(seen, most);
  EXPECT_TRUE(writer.finishes());
  EXPECT_LE(running->report().peak_extra_memory, extra + detail::page_saver::batch_bytes);
  EXPECT_LE(test::resident_bytes(), before + inexact);
  for (std::size_t page = 0; page < pages; ++page) ASSERT_EQ(snapshots.of().at(page), 1);
}

// Of 4 GiB, of which little was touched.
TEST(snapshot_file, takes_memory_for_what_it_has_alone) {
  if (test::address_sanitizer || test::thread_sanitizer) GTEST_SKIP() << "they take memory, too";
  const test::scratch_folder folder;
  const std::vector<snapshot_area> areas{{{page_size(), std::size_t{4} << 30}, page_size()}};
  const auto content = test::random_pages(3, 1);
  {
    detail::snapshot_writer writer(folder / "one", areas, nullptr);
    for (std::size_t i = 0; i < 3; ++i)
      test::check(writer.put(0, i << 30, std::span(content).subspan(i * page_size(), page_size())));
    test::check(writer.commit());
  }
  const auto before = test::resident_bytes();
  const auto file = snapshot_file::open(folder / "one");
  EXPECT_EQ(file.saved_bytes(), 3 * page_size());
  EXPECT_LE(test::resident_bytes(), before + inexact);
}

}  // namespace
}  // namespace uffd
