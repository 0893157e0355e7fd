// SPDX-License-Identifier: MIT
#include "tracking/snapshot_base.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "support/refusal.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"

namespace uffd::detail {
namespace {

// A file "one" that is based upon.
class a_snapshot_base : public testing::Test {
 protected:
  a_snapshot_base() : saved_(test::save(folder_ / "one", test::random_pages(2, 1))) {}

  const test::scratch_folder folder_;
  const snapshot_file saved_;
  snapshot_base base_{folder_ / "one"};
};

TEST_F(a_snapshot_base, has_what_its_file_says) {
  EXPECT_EQ(base_.header().identity, saved_.identity());
  EXPECT_EQ(base_.name(), "one");
}

TEST_F(a_snapshot_base, is_beside_what_is_in_its_folder) {
  EXPECT_TRUE(base_.is_beside(folder_ / "two"));
  std::filesystem::create_directory(folder_ / "there");
  EXPECT_FALSE(base_.is_beside(folder_ / "there" / "two"));
  EXPECT_FALSE(base_.is_beside("/nowhere/two"));
  const test::working_folder here(folder_.path());
  EXPECT_TRUE(base_.is_beside("two"));
}

TEST_F(a_snapshot_base, has_the_name_that_it_was_given_since) {
  std::filesystem::rename(folder_ / "one", folder_ / "another");
  EXPECT_TRUE(base_.is_beside(folder_ / "two"));
  EXPECT_EQ(base_.name(), "another");
}

TEST_F(a_snapshot_base, is_beside_nothing_once_it_is_gone_or_replaced) {
  std::filesystem::remove(folder_ / "one");
  EXPECT_FALSE(base_.is_beside(folder_ / "two"));
  static_cast<void>(test::save(folder_ / "one", test::random_pages(2, 1)));
  EXPECT_FALSE(base_.is_beside(folder_ / "two"));
}

TEST_F(a_snapshot_base, is_beside_nothing_once_it_was_written_to) {
  const auto path = folder_ / "one";
  // Of the same size, and within the tick of the clock in which it was saved perhaps.
  const std::array<timespec, 2> long_ago{{{1, 0}, {1, 0}}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), long_ago.data(), 0), 0);
  EXPECT_FALSE(base_.is_beside(folder_ / "two"));
}

TEST_F(a_snapshot_base, is_beside_nothing_once_it_was_cut) {
  std::filesystem::resize_file(folder_ / "one", saved_.data_offset(0));
  EXPECT_FALSE(base_.is_beside(folder_ / "two"));
}

TEST_F(a_snapshot_base, is_no_other_file) {
  std::ofstream(folder_ / "text") << "something else";
  EXPECT_EQ(test::error_of([&] { snapshot_base(folder_ / "text"); }), snapshot_error::foreign);
  EXPECT_EQ(test::thrown([&] { snapshot_base(folder_ / "none"); }), ENOENT);
}

}  // namespace
}  // namespace uffd::detail
