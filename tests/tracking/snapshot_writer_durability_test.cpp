// SPDX-License-Identifier: MIT
// In which order a snapshot reaches the disk, and what is left where one step of that fails. No
// crash is provoked: the C library's functions are replaced by others that note who calls them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "support/requires.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"
#include "tracking/snapshot_writer.hpp"
#include "uffd/unique_fd.hpp"

namespace {

// What was done while somebody looks.
std::vector<std::string_view> steps;
bool looks = false;
std::optional<std::size_t> failing;  // which step

bool fails(std::string_view step) {
  if (!looks) return false;
  steps.push_back(step);
  if (steps.size() - 1 != failing) return false;
  errno = EIO;
  return true;
}

// A folder, a file that is a snapshot by now, or one that is none yet.
std::string_view kind_of(int file) {
  struct stat status {};
  if (::fstat(file, &status) == 0 && S_ISDIR(status.st_mode)) return "folder";
  std::array<char, 8> begin{};
  const bool is_read = ::pread(file, begin.data(), begin.size(), 0) == std::ssize(begin);
  return is_read && std::string_view(begin.data(), begin.size()) == "uffdsnap" ? "header" : "pages";
}

}  // namespace

extern "C" int fsync(int file) {
  return fails(kind_of(file)) ? -1 : static_cast<int>(::syscall(SYS_fsync, file));
}
extern "C" int rename(const char* from, const char* to) noexcept {
  return fails("name")
             ? -1
             : static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0U));
}
extern "C" int renameat2(int from_folder, const char* from, int to_folder, const char* to,
                         unsigned how) noexcept {
  return fails("new name")
             ? -1
             : static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, how));
}

namespace uffd::detail {
namespace {

// Others take a step more.
std::string file_system_that_replaces_nothing(const test::scratch_folder& folder) {
  const unique_fd one(::open((folder / "from").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  const bool can = ::renameat2(AT_FDCWD, (folder / "from").c_str(), AT_FDCWD,
                               (folder / "to").c_str(), RENAME_NOREPLACE) == 0;
  std::filesystem::remove(folder / (can ? "to" : "from"));
  return can ? "" : "this file system can't rename without replacing";
}

// The error of saving a file, of which a step may fail.
std::error_code save(const std::filesystem::path& path, std::optional<std::size_t> failing_step) {
  const auto content = test::random_pages(2, 1);
  const std::vector<snapshot_area> areas{{{page_size(), 2 * page_size()}, page_size()}};
  snapshot_writer writer(path, areas, nullptr);
  test::check(writer.put(0, 0, content));
  steps.clear();
  failing = failing_step;
  looks = true;
  const auto error = writer.commit();
  looks = false;
  return error;
}

TEST(snapshot_writer_durability, has_all_on_the_disk_before_the_header_and_that_before_the_name) {
  const test::scratch_folder folder;
  UFFDPP_REQUIRE(file_system_that_replaces_nothing(folder));
  ASSERT_FALSE(save(folder / "one", {}));
  EXPECT_EQ(steps, (std::vector<std::string_view>{"pages", "header", "new name", "folder"}));
  ASSERT_FALSE(save(folder / "one", {}));
  EXPECT_EQ(steps,
            (std::vector<std::string_view>{"pages", "header", "new name", "name", "folder"}));
}

TEST(snapshot_writer_durability, leaves_no_file_whichever_step_fails) {
  const test::scratch_folder folder;
  UFFDPP_REQUIRE(file_system_that_replaces_nothing(folder));
  for (std::size_t step = 0; step < 4; ++step) {
    EXPECT_EQ(save(folder / "one", step), std::errc::io_error) << step;
    EXPECT_EQ(steps.size(), step + 1) << "nothing is done after it";
    EXPECT_EQ(folder.files(), 0U) << step;
  }
}

TEST(snapshot_writer_durability, leaves_the_old_file_or_the_new_one_whichever_step_fails) {
  const test::scratch_folder folder;
  UFFDPP_REQUIRE(file_system_that_replaces_nothing(folder));
  ASSERT_FALSE(save(folder / "one", {}));
  const auto old = snapshot_file::open(folder / "one").identity();
  for (std::size_t step = 0; step < 5; ++step) {
    EXPECT_EQ(save(folder / "one", step), std::errc::io_error) << step;
    EXPECT_EQ(folder.files(), 1U) << step;
    const auto left = snapshot_file::open(folder / "one");
    EXPECT_EQ(left.identity() == old, step < 4) << step;
    left.verify();
  }
}

}  // namespace
}  // namespace uffd::detail
