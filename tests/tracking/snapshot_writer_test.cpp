// SPDX-License-Identifier: MIT
#include "tracking/snapshot_writer.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "support/forked.hpp"
#include "support/refusal.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"
#include "uffd/tracking/snapshot_chain.hpp"

namespace uffd::detail {
namespace {

using test::bytes;
using test::check;

std::vector<snapshot_area> one_area(std::size_t pages) {
  return {{{page_size(), pages * page_size()}, page_size()}};
}

bytes restored(const std::filesystem::path& path) {
  const auto chain = snapshot_chain::open(path);
  bytes memory(chain.areas()[0].range.size());
  chain.restore(memory);
  return memory;
}

std::uint64_t bytes_on_disk(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

TEST(snapshot_writer, leaves_pages_that_were_not_put_to_the_base) {
  const test::scratch_folder folder;
  const auto content = test::random_pages(2, 1);
  snapshot_writer first(folder / "one", one_area(4), nullptr);
  check(first.put(0, page_size(), std::span(content).first(page_size())));
  check(first.commit());
  bytes expected(4 * page_size());
  test::change_page(expected, 1, 1);
  EXPECT_EQ(restored(folder / "one"), expected) << "zeroes, where there is none";

  const snapshot_base base(folder / "one");
  snapshot_writer second(folder / "two", one_area(4), &base);
  check(second.put(0, 3 * page_size(), std::span(content).first(page_size())));
  check(second.commit());
  test::change_page(expected, 3, 1);
  EXPECT_EQ(restored(folder / "two"), expected);
}

TEST(snapshot_writer, puts_zeroes_over_the_base) {
  const test::scratch_folder folder;
  static_cast<void>(test::save(folder / "one", test::random_pages(3, 1)));
  const snapshot_base base(folder / "one");
  snapshot_writer writer(folder / "two", one_area(3), &base);
  check(writer.put_zero(0, page_size(), 2 * page_size()));
  check(writer.commit());
  auto expected = test::random_pages(3, 1);
  test::clear_page(expected, 1);
  test::clear_page(expected, 2);
  EXPECT_EQ(restored(folder / "two"), expected);
}

TEST(snapshot_writer, stores_no_zeroes) {
  const test::scratch_folder folder;
  bytes memory(1024 * page_size());
  memory[500 * page_size() - 1] = std::byte{1};
  const auto file = test::save(folder / "one", memory);
  EXPECT_EQ(file.saved_bytes(), page_size());
  EXPECT_LE(bytes_on_disk(folder / "one"), 128 * page_size());
  EXPECT_EQ(restored(folder / "one"), memory);
}

TEST(snapshot_writer, shows_nothing_before_it_has_all) {
  const test::scratch_folder folder;
  const auto content = test::random_pages(2, 1);
  {
    snapshot_writer writer(folder / "one", one_area(2), nullptr);
    check(writer.put(0, 0, content));
    ASSERT_EQ(folder.files(), 1U);
    const auto unfinished = std::filesystem::directory_iterator(folder.path())->path();
    EXPECT_NE(unfinished, folder / "one");
    EXPECT_EQ(test::refused(unfinished), snapshot_error::incomplete);
  }
  EXPECT_EQ(folder.files(), 0U);
}

TEST(snapshot_writer, has_a_file_that_only_its_owner_reads) {
  const test::scratch_folder folder;
  static_cast<void>(test::save(folder / "one", test::random_pages(1, 1)));
  EXPECT_EQ(
      std::filesystem::status(folder / "one").permissions() & ~std::filesystem::perms::owner_all,
      std::filesystem::perms::none);
}

TEST(snapshot_writer, replaces_a_file_if_it_has_no_base) {
  const test::scratch_folder folder;
  const auto old = test::save(folder / "one", test::random_pages(2, 1));
  const auto memory = test::random_pages(2, 2);
  const auto file = test::save(folder / "one", memory);
  EXPECT_NE(file.identity(), old.identity());
  EXPECT_EQ(restored(folder / "one"), memory);
  old.verify();  // it is open still

  const snapshot_base base(folder / "one");
  EXPECT_EQ(test::thrown([&] { snapshot_writer(folder / "one", one_area(2), &base); }), EEXIST);
  snapshot_writer delta(folder / "two", one_area(2), &base);
  std::filesystem::copy_file(folder / "one", folder / "two");
  EXPECT_EQ(delta.commit(), std::errc::file_exists);
  EXPECT_EQ(restored(folder / "two"), memory);
}

TEST(snapshot_writer, that_can_not_take_its_place_leaves_nothing) {
  const test::scratch_folder folder;
  {
    snapshot_writer writer(folder / "one", one_area(1), nullptr);
    std::filesystem::create_directory(folder / "one");
    EXPECT_EQ(writer.commit(), std::errc::is_a_directory);
  }
  EXPECT_EQ(folder.files(), 1U);
}

TEST(snapshot_writer, replaces_nothing_that_is_no_file) {
  const test::scratch_folder folder;
  ASSERT_EQ(::mkfifo((folder / "one").c_str(), 0600), 0);
  EXPECT_EQ(test::thrown([&] { snapshot_writer(folder / "one", one_area(1), nullptr); }), EEXIST);
  EXPECT_TRUE(std::filesystem::is_fifo(folder / "one"));
  EXPECT_EQ(folder.files(), 1U);
}

TEST(snapshot_writer, refuses_what_are_no_pages_of_an_area) {
  const test::scratch_folder folder;
  const auto content = test::random_pages(3, 1);
  const auto all = std::span<const std::byte>(content);
  const auto page = page_size();
  snapshot_writer writer(folder / "one", one_area(2), nullptr);
  constexpr auto invalid = std::errc::invalid_argument;
  EXPECT_EQ(writer.put(1, 0, all.first(page)), invalid);
  EXPECT_EQ(writer.put(0, 1, all.first(page)), invalid);
  EXPECT_EQ(writer.put(0, 0, all.first(page - 1)), invalid);
  EXPECT_EQ(writer.put(0, 0, all), invalid);
  EXPECT_EQ(writer.put(0, 2 * page, all.first(page)), invalid);
  EXPECT_EQ(writer.put_zero(0, ~page + 1, page), invalid);
  EXPECT_FALSE(writer.put(0, page, all.first(page)));
}

TEST(snapshot_writer, refuses_areas_that_are_none) {
  const test::scratch_folder folder;
  const auto page = page_size();
  const auto with = [&](std::vector<snapshot_area> areas) {
    return test::refusal_of([&] { snapshot_writer(folder / "one", areas, nullptr); });
  };
  EXPECT_EQ(with({}).number, EINVAL);
  EXPECT_EQ(with({{{page, 0}, page}}).number, EINVAL);
  EXPECT_EQ(with({{{page, page + 1}, page}}).number, EINVAL);
  EXPECT_EQ(with({{{page, page}, page / 2}}).number, EINVAL);
  EXPECT_TRUE(with({{{page + 1, page}, page}}).names("one: an area that is not"));
  EXPECT_EQ(with(std::vector<snapshot_area>(2, {{0, std::size_t{1} << 62U}, page})).number, EFBIG);
  static_cast<void>(test::save(folder / "base", test::random_pages(2, 1)));
  const snapshot_base base(folder / "base");
  EXPECT_EQ(test::error_of([&] { snapshot_writer(folder / "one", one_area(3), &base); }),
            snapshot_error::other_areas);
  EXPECT_EQ(test::thrown([&] { snapshot_writer("/nowhere/one", one_area(3), nullptr); }), ENOENT);
  EXPECT_EQ(folder.files(), 1U);
}

TEST(snapshot_writer, is_fed_by_several_threads) {
  const test::scratch_folder folder;
  constexpr std::size_t pages = 1500;
  const auto memory = test::random_pages(pages, 1);
  snapshot_writer writer(folder / "one", one_area(pages), nullptr);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        for (std::size_t page = i; page < pages; page += 4)
          EXPECT_FALSE(writer.put(0, page * page_size(),
                                  std::span(memory).subspan(page * page_size(), page_size())));
      });
  }
  check(writer.commit());
  EXPECT_EQ(restored(folder / "one"), memory);
}

// A file system of `size` bytes that nobody else sees.
unique_fd small_file_system(const char* size) {
  constexpr int set_string = 1;
  constexpr int create = 6;
  const unique_fd system(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", 0L)));
  if (!system || ::syscall(SYS_fsconfig, long{system.get()}, long{set_string}, "size", size, 0L) ||
      ::syscall(SYS_fsconfig, long{system.get()}, long{create}, nullptr, nullptr, 0L))
    return {};
  return unique_fd(static_cast<int>(::syscall(SYS_fsmount, long{system.get()}, 0L, 0L)));
}

TEST(snapshot_writer, says_that_the_disk_is_full_and_leaves_nothing) {
  const auto root = small_file_system("1m");
  if (!root) GTEST_SKIP() << "no file system can be made: " << std::strerror(errno);
  const std::filesystem::path folder = "/proc/self/fd/" + std::to_string(root.get());
  const auto memory = test::random_pages(1, 1, std::size_t{2} << 20);
  const auto pages = memory.size() / page_size();
  const auto base = test::save(folder / "base", test::random_pages(1, 1));
  {
    snapshot_writer writer(folder / "one", one_area(pages), nullptr);
    EXPECT_EQ(writer.put(0, 0, memory), std::errc::no_space_on_device);
    EXPECT_EQ(writer.commit(), std::errc::no_space_on_device) << "nor is it forgotten";
  }
  {
    // All pages fit, the index does not.
    const auto room = std::filesystem::space(folder).available;
    snapshot_writer writer(folder / "one", one_area(pages), nullptr);
    check(writer.put(0, 0, std::span(memory).first(room)));
    EXPECT_EQ(writer.commit(), std::errc::no_space_on_device);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "one"));
  const std::filesystem::directory_iterator left(folder);
  EXPECT_EQ(std::distance(begin(left), end(left)), 1) << "the base";
  base.verify();
}

TEST(snapshot_writer, says_that_files_must_not_be_as_large) {
  const test::scratch_folder folder;
  EXPECT_EQ(test::in_child([&] {
              const rlimit limit{100'000, 100'000};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              return test::thrown([&] { snapshot_writer(folder / "one", one_area(100), nullptr); });
            }),
            test::exits_with(EFBIG));
  EXPECT_EQ(folder.files(), 0U);
}

// What memory has in one round of saving; each page tells which.
void begin_round(bytes& memory, std::uint64_t round) {
  for (std::size_t at = 0; at < memory.size(); at += page_size())
    std::memcpy(&memory[at], &round, sizeof round);
}
std::uint64_t round_of(const bytes& memory) {
  std::uint64_t round = 0;
  std::memcpy(&round, memory.data(), sizeof round);
  return round;
}

// Saves again and again, until it is killed.
[[noreturn]] void save_for_ever(const test::scratch_folder& folder, bytes memory) {
  for (std::uint64_t round = 1;; ++round) {
    begin_round(memory, round);
    snapshot_writer writer(folder / "one", one_area(memory.size() / page_size()), nullptr);
    for (std::size_t at = 0; at < memory.size(); at += 8 * page_size())
      check(writer.put(0, at, std::span(memory).subspan(at, 8 * page_size())));
    check(writer.commit());
  }
}

void kill_after_one_was_saved(const test::scratch_folder& folder, const bytes& memory,
                              std::chrono::microseconds after) {
  test::forked saving([&] { save_for_ever(folder, memory); });
  while (!std::filesystem::exists(folder / "one"))
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  // Only when it is killed depends on it.
  std::this_thread::sleep_for(after);
  saving.kill();
  saving.wait();
}

// The round of a file that is complete, of which it must have all.
std::uint64_t saved_round(const std::filesystem::path& path, bytes memory) {
  const auto saved = restored(path);
  begin_round(memory, round_of(saved));
  EXPECT_TRUE(saved == memory) << path << ", round " << round_of(saved);
  return round_of(saved);
}

TEST(snapshot_writer, that_is_killed_leaves_the_last_whole_file) {
  constexpr int most_delay = 5000;  // microseconds
  const auto memory = test::random_pages(64, 1);
  std::minstd_rand random(1);
  std::size_t unfinished = 0;
  for (int i = 0; i < 25; ++i) {
    const test::scratch_folder folder;
    kill_after_one_was_saved(folder, memory, std::chrono::microseconds(random() % most_delay));
    const auto last = saved_round(folder / "one", memory);
    EXPECT_GE(last, 1U);
    for (const auto& each : std::filesystem::directory_iterator(folder.path())) {
      if (each.path() == folder / "one") continue;
      if (const auto error = test::refused(each.path())) {
        // It may be without a single byte yet.
        EXPECT_TRUE(error == snapshot_error::incomplete || error == snapshot_error::truncated)
            << error.message();
        ++unfinished;
      } else {
        EXPECT_EQ(saved_round(each.path(), memory), last + 1) << "complete but for its name";
      }
    }
  }
  EXPECT_GT(unfinished, 0U) << "none was killed while it wrote";
}

}  // namespace
}  // namespace uffd::detail
