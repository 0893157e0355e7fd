// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/memory.hpp"
#include "support/pictured.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/scratch_folder.hpp"
#include "support/sight.hpp"
#include "support/snapshots.hpp"
#include "uffd/mapping.hpp"
#include "uffd/tracking/snapshot_chain.hpp"

namespace uffd {
namespace {

void write(std::uintptr_t address, int value) {
  ASSERT_EQ(test::try_write(address, value), test::shows(value));
}

class snapshotter_of : public testing::TestWithParam<test::memory_kind> {
 protected:
  static constexpr std::size_t pages = 6;

  void SetUp() override {
    UFFDPP_REQUIRE(test::snapshots_of(GetParam(), pages));
    memory_.emplace(GetParam(), pages);
  }
  const test::memory& memory() const { return *memory_; }
  snapshotter snapshots() const {
    const std::array areas{snapshot_area{memory().range(), memory().page_size()}};
    return snapshotter(areas);
  }
  std::filesystem::path file(const char* name) const { return folder_ / name; }
  // The first byte of each page.
  std::vector<int> saved(const char* name) const {
    const auto chain = snapshot_chain::open(file(name));
    chain.verify();
    const auto restored = mapping::anonymous(memory().size());
    chain.restore(restored.bytes());
    std::vector<int> bytes;
    for (std::size_t page = 0; page < pages; ++page)
      bytes.push_back(std::to_integer<int>(restored.bytes()[page * memory().page_size()]));
    return bytes;
  }

 private:
  std::optional<test::memory> memory_;
  test::scratch_folder folder_;
};
UFFDPP_ON_EVERY_KIND(snapshotter_of);

TEST_P(snapshotter_of, memory_saves_it_as_it_was_when_the_lock_was_held) {
  write(memory().at(1), 1);
  write(memory().at(4), 4);
  auto by = snapshots();
  std::mutex writers;
  auto running = by.take(file("base"), writers);
  write(memory().at(1), 10);
  write(memory().at(2), 20);
  const auto report = running.wait();
  EXPECT_TRUE(running.is_over());
  EXPECT_FALSE(report.is_delta);
  EXPECT_GT(report.duration.count(), 0);
  EXPECT_EQ(running.wait().saved_bytes, report.saved_bytes);
  EXPECT_EQ(saved("base"), (std::vector<int>{0, 1, 0, 0, 4, 0}));
  EXPECT_TRUE(by.take(file("delta"), writers).wait().is_delta);
  write(memory().at(4), 0);
  EXPECT_TRUE(by.take(file("second delta"), writers).wait().is_delta);
  EXPECT_EQ(saved("base"), (std::vector<int>{0, 1, 0, 0, 4, 0}));
  EXPECT_EQ(saved("delta"), (std::vector<int>{0, 10, 20, 0, 4, 0}));
  EXPECT_EQ(saved("second delta"), (std::vector<int>{0, 10, 20, 0, 0, 0}));
  EXPECT_FALSE(by.take(file("whole"), writers, snapshot_extent::everything).wait().is_delta);
  std::filesystem::remove(file("base"));
  EXPECT_EQ(saved("whole"), (std::vector<int>{0, 10, 20, 0, 0, 0}));
}

class a_snapshotter : public testing::Test {
 protected:
  static constexpr std::size_t pages = 64;

  void SetUp() override {
    UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::anonymous, pages));
    memory_.emplace(test::memory_kind::anonymous, pages);
    for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
  }
  const test::memory& memory() const { return *memory_; }
  std::array<snapshot_area, 1> areas() const { return {{{memory().range(), page_size()}}}; }
  std::filesystem::path file(const char* name) const { return folder_ / name; }
  std::size_t files() const { return folder_.files(); }
  // Whether a file and its bases have what the memory has now.
  bool is_saved(const char* name) const {
    const auto restored = mapping::anonymous(memory().size());
    snapshot_chain::open(file(name)).restore(restored.bytes());
    return std::ranges::equal(restored.bytes(), memory().bytes());
  }

 private:
  std::optional<test::memory> memory_;
  test::scratch_folder folder_;
};

TEST_F(a_snapshotter, calls_what_stops_writers_and_lets_them_go_in_this_order) {
  snapshotter by(areas());
  std::vector<char> calls;
  by.take(
        file("one"), [&] { calls.push_back('s'); }, [&] { calls.push_back('g'); })
      .wait();
  EXPECT_EQ(calls, (std::vector{'s', 'g'}));
}

TEST_F(a_snapshotter, replaces_no_file_by_one_that_has_a_base) {
  snapshotter by(areas());
  std::mutex writers;
  by.take(file("one"), writers).wait();
  write(memory().at(3), 3);
  EXPECT_EQ(test::thrown([&] { by.take(file("one"), writers).wait(); }), EEXIST);
  EXPECT_TRUE(writers.try_lock());
  writers.unlock();
  by.take(file("two"), writers).wait();
  EXPECT_TRUE(is_saved("two"));
  by.take(file("one"), writers, snapshot_extent::everything).wait();
}

TEST_F(a_snapshotter, saves_all_where_the_file_of_its_base_is_gone) {
  snapshotter by(areas());
  std::mutex writers;
  by.take(file("one"), writers).wait();
  std::filesystem::remove(file("one"));
  write(memory().at(3), 3);
  EXPECT_FALSE(by.take(file("two"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("two"));
  write(memory().at(4), 4);
  EXPECT_TRUE(by.take(file("three"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("three"));
}

TEST_F(a_snapshotter, saves_all_where_its_base_would_not_be_found) {
  snapshotter by(areas());
  std::mutex writers;
  std::filesystem::create_directory(file("there"));
  by.take(file("one"), writers).wait();
  write(memory().at(3), 3);
  EXPECT_FALSE(by.take(file("there/two"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("there/two"));
  write(memory().at(4), 4);
  std::filesystem::rename(file("there/two"), file("two"));
  EXPECT_FALSE(by.take(file("there/three"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("there/three"));
}

TEST_F(a_snapshotter, knows_its_base_by_the_name_that_it_was_given) {
  snapshotter by(areas());
  std::mutex writers;
  by.take(file("new"), writers).wait();
  std::filesystem::rename(file("new"), file("one"));
  write(memory().at(3), 3);
  EXPECT_TRUE(by.take(file("new"), writers).wait().is_delta);
  EXPECT_EQ(snapshot_file::open(file("new")).base_name(), "one");
  EXPECT_TRUE(is_saved("new"));
}

TEST_F(a_snapshotter, leaves_no_file_whose_base_is_gone_by_then) {
  snapshotter by(areas());
  std::mutex writers;
  by.take(file("one"), writers).wait();
  write(memory().at(3), 3);
  const auto lose = [&] { std::filesystem::remove(file("one")); };
  auto running = by.take(file("two"), lose, [] {});
  EXPECT_EQ(test::error_of([&] { running.wait(); }), snapshot_error::no_base);
  EXPECT_EQ(files(), 0U);
  EXPECT_FALSE(by.take(file("three"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("three"));
}

TEST_F(a_snapshotter, takes_no_file_for_its_base_that_another_one_saved) {
  snapshotter by(areas());
  const test::memory others(test::memory_kind::anonymous, pages);
  for (std::size_t page = 0; page < pages; ++page) write(others.at(page), 7);
  const std::array its{snapshot_area{others.range(), page_size()}};
  snapshotter another(its);
  std::mutex writers;
  by.take(file("one"), writers).wait();
  another.take(file("one"), writers).wait();
  write(memory().at(3), 3);
  EXPECT_FALSE(by.take(file("two"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("two"));
  EXPECT_TRUE(another.take(file("three"), writers).wait().is_delta);
}

// While the folder is written, for which nobody else waits.
TEST_F(a_snapshotter, takes_no_file_for_its_base_that_took_its_name_at_once) {
  snapshotter by(areas());
  const test::memory others(test::memory_kind::anonymous, pages);
  for (std::size_t page = 0; page < pages; ++page) write(others.at(page), 7);
  const std::array its{snapshot_area{others.range(), page_size()}};
  std::mutex writers;
  snapshotter another(its);
  another.take(file("other"), writers).wait();
  auto running = by.take(file("one"), writers);
  while (!running.is_over() && !std::filesystem::exists(file("one"))) std::this_thread::yield();
  std::filesystem::rename(file("other"), file("one"));
  running.wait();
  write(memory().at(3), 3);
  EXPECT_FALSE(by.take(file("two"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("two"));
}

// One of that name lies where the process goes.
TEST_F(a_snapshotter, knows_its_base_when_the_process_goes_elsewhere) {
  snapshotter by(areas());
  const test::memory others(test::memory_kind::anonymous, pages);
  const std::array its{snapshot_area{others.range(), page_size()}};
  snapshotter another(its);
  std::mutex writers;
  std::filesystem::create_directory(file("there"));
  another.take(file("there") / "one", writers).wait();
  {
    const test::working_folder here(file("."));
    const auto leave = [&] { std::filesystem::current_path(file("there")); };
    by.take("one", leave, [] {}).wait();
  }
  write(memory().at(3), 3);
  EXPECT_TRUE(by.take(file("two"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("two"));
}

// The name of the file is a folder's by then.
TEST_F(a_snapshotter, saves_all_after_one_that_could_not_be_completed) {
  snapshotter by(areas());
  std::mutex writers;
  by.take(file("one"), writers).wait();
  write(memory().at(3), 3);
  const auto take_name = [&] { std::filesystem::create_directory(file("two")); };
  EXPECT_NE(test::thrown([&] { by.take(file("two"), take_name, [] {}).wait(); }), 0);
  EXPECT_FALSE(by.take(file("three"), writers).wait().is_delta);
  EXPECT_TRUE(is_saved("three"));
}

TEST_F(a_snapshotter, leaves_no_file_of_one_that_is_cancelled_or_let_go) {
  snapshotter by(areas());
  std::mutex writers;
  for (const bool let_go : {false, true}) {
    std::optional<running_snapshot> running(by.take(file("one"), writers));
    running->cancel();
    if (!let_go) {
      // It may have been faster.
      const auto number = test::thrown([&] { running->wait(); });
      EXPECT_EQ(std::filesystem::exists(file("one")), number == 0);
    }
    running.reset();
    std::filesystem::remove(file("one"));
    by.take(file("whole"), writers, snapshot_extent::everything).wait();
    EXPECT_EQ(files(), 1U);
  }
}

TEST_F(a_snapshotter, tells_why_a_file_can_not_be_made) {
  snapshotter by(areas());
  std::mutex writers;
  EXPECT_EQ(test::thrown([&] { by.take(file("nowhere") / "one", writers).wait(); }), ENOENT);
  EXPECT_FALSE(by.take(file("one"), writers).wait().is_delta);
}

TEST_F(a_snapshotter, can_be_moved_while_one_is_under_way) {
  snapshotter by(areas());
  std::mutex writers;
  auto running = by.take(file("one"), writers);
  snapshotter moved(std::move(by));
  auto same = std::move(running);
  same.wait();
  EXPECT_GT(same.progress().total_bytes, 0U);
  EXPECT_EQ(same.progress().saved_bytes, same.progress().total_bytes);
  auto other = moved.take(file("two"), writers);
  other.wait();
  other = std::move(same);
  EXPECT_TRUE(other.is_over());
}

TEST_F(a_snapshotter, cancels_what_is_under_way_at_its_end) {
  std::optional<snapshotter> by(std::in_place, areas());
  std::mutex writers;
  const auto running = by->take(file("one"), writers);
  by.reset();
  EXPECT_TRUE(running.is_over());
  const auto number = test::thrown([&] { running.wait(); });
  EXPECT_TRUE(number == 0 || number == ECANCELED) << number;
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 2);
}

TEST_F(a_snapshotter, can_be_a_client_of_a_handler) {
  fault_handler handler(test::zeroes_for_missing{}, test::handler_options_for_snapshots());
  snapshotter by(handler, areas());
  std::mutex writers;
  by.take(file("one"), writers).wait();
  write(memory().at(5), 5);
  EXPECT_EQ(by.take(file("two"), writers).wait().saved_bytes, page_size());
}

}  // namespace
}  // namespace uffd
