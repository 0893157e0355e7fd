// SPDX-License-Identifier: MIT
#include "tracking/snapshot_engine.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <thread>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/forked.hpp"
#include "support/kernel_flags.hpp"
#include "support/memory.hpp"
#include "support/pictured.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sanitizers.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

using numbers = std::vector<std::size_t>;
using namespace std::chrono_literals;
using test::write;

class snapshot_engine : public testing::Test {
 protected:
  static constexpr std::size_t pages = 512;

  void SetUp() override {
    UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::anonymous, pages));
    memory_.emplace(test::memory_kind::anonymous, pages);
    for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 1);
  }
  const test::memory& memory() const { return *memory_; }
  void unmap() { memory_.reset(); }

 private:
  std::optional<test::memory> memory_;
};

TEST_F(snapshot_engine, takes_no_more_extra_memory_than_it_may) {
  const std::size_t extra = 8 * page_size();
  test::pictured snapshots(memory(), {.extra_memory = extra});
  test::signal reached;
  test::signal release;
  std::atomic<int> written{0};
  std::vector<std::jthread> writers;
  const auto running = snapshots.begin({.delay = 20us, .reached = &reached, .release = &release});
  ASSERT_TRUE(reached.comes());
  for (std::size_t each = 0; each < 4; ++each)
    writers.emplace_back([&, each] {
      for (std::size_t page = pages - 1 - each; page < pages; page -= 4) {
        write(memory().at(page), 2);
        ++written;
      }
    });
  // Of what the walk, which is held up, does not have yet.
  EXPECT_TRUE(test::eventually([&] { return written != 0; }));
  release.set();
  running->wait();
  writers.clear();
  const auto& report = running->report();
  EXPECT_LE(report.peak_extra_memory, extra + uffd::detail::page_saver::batch_bytes);
  EXPECT_GT(report.pre_images, 0U);
  EXPECT_EQ(snapshots.of().puts, std::vector<int>(pages, 1));
  for (std::size_t page = 0; page < pages; ++page) ASSERT_EQ(snapshots.of().at(page), 1);
  snapshots.take();
  for (std::size_t page = 0; page < pages; ++page) ASSERT_EQ(snapshots.of().at(page), 2);
}

TEST_F(snapshot_engine, makes_a_writer_wait_while_no_buffer_is_left) {
  test::pictured snapshots(memory(), {.extra_memory = page_size(), .threads = 1});
  test::signal reached;
  test::signal release;
  // The walk has no more than the first batch when the first is put.
  const std::size_t batch = uffd::detail::page_saver::batch_bytes / page_size();
  ASSERT_LT(batch + 2, pages);
  const auto running = snapshots.begin({.reached = &reached, .release = &release});
  ASSERT_TRUE(reached.comes());
  write(memory().at(pages - 1), 2);
  test::toucher second(memory().at(pages - 2), 2);
  EXPECT_TRUE(second.waits());
  // What is saved already waits for nobody.
  write(memory().at(0), 2);
  release.set();
  EXPECT_EQ(second.saw(), test::shows(2));
  running->wait();
  EXPECT_GT(running->report().longest_wait, 0ns);
  for (std::size_t page = 0; page < pages; ++page) ASSERT_EQ(snapshots.of().at(page), 1);
}

TEST_F(snapshot_engine, lets_writers_go_when_the_sink_fails) {
  test::pictured snapshots(memory(), {.extra_memory = page_size()});
  const auto running = snapshots.begin({.delay = 100us, .fails_at = 1});
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 2);
  running->wait();
  const auto refusal = test::refusal_of([&] { running->report(); });
  EXPECT_EQ(refusal.number, ENOSPC);
  EXPECT_TRUE(refusal.names("saving memory")) << refusal.words;
  snapshots.take();
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  for (std::size_t page = 0; page < pages; ++page) ASSERT_EQ(snapshots.of().at(page), 2);
}

TEST_F(snapshot_engine, can_be_cancelled) {
  test::pictured snapshots(memory());
  test::signal reached;
  test::signal release;
  const auto running = snapshots.begin({.reached = &reached, .release = &release});
  ASSERT_TRUE(reached.comes());
  EXPECT_FALSE(running->is_over());
  running->cancel();
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 2);
  release.set();
  running->wait();
  EXPECT_EQ(test::thrown([&] { running->report(); }), ECANCELED);
  running->cancel();
  EXPECT_FALSE(snapshots.take().is_delta);
  running->cancel();
  EXPECT_EQ(snapshots.of().pages_put(), pages);
}

TEST_F(snapshot_engine, refuses_a_second_one_meanwhile) {
  test::pictured snapshots(memory());
  test::signal reached;
  test::signal release;
  const auto running = snapshots.begin({.reached = &reached, .release = &release});
  ASSERT_TRUE(reached.comes());
  EXPECT_EQ(test::thrown([&] { snapshots.begin(); }), EBUSY);
  const auto progress = running->progress();
  EXPECT_EQ(progress.total_bytes, memory().size());
  EXPECT_LT(progress.saved_bytes, progress.total_bytes);
  release.set();
  running->wait();
  EXPECT_EQ(running->progress().saved_bytes, memory().size());
  snapshots.take();
}

TEST_F(snapshot_engine, ends_while_one_is_under_way) {
  test::pictured snapshots(memory(), {.extra_memory = page_size()});
  test::signal reached;
  test::signal release;
  const auto running = snapshots.begin({.reached = &reached, .release = &release});
  ASSERT_TRUE(reached.comes());
  write(memory().at(pages - 1), 2);
  test::toucher waits(memory().at(pages - 2), 2);
  EXPECT_TRUE(waits.waits());
  test::background ending([&] { snapshots.end(); });
  EXPECT_TRUE(ending.blocks());
  release.set();
  EXPECT_TRUE(ending.finishes());
  EXPECT_EQ(waits.saw(), test::shows(2));
  EXPECT_EQ(test::thrown([&] { running->report(); }), ECANCELED);
  for (std::size_t page = 0; page < pages; ++page) write(memory().at(page), 3);
}

TEST_F(snapshot_engine, fails_where_memory_is_unmapped_and_leaves_the_rest_alone) {
  const test::memory other(test::memory_kind::anonymous, 4);
  for (std::size_t page = 0; page < 4; ++page) write(other.at(page), 1);
  test::pictured snapshots({test::pictured::area_of(other), test::pictured::area_of(memory())});
  const auto running = snapshots.begin({.before_put = [&] { unmap(); }});
  running->wait();
  const auto refusal = test::refusal_of([&] { running->report(); });
  EXPECT_TRUE(refusal.number == EFAULT || refusal.number == ENODATA) << refusal.words;
  EXPECT_TRUE(refusal.names("unmapped")) << refusal.words;
  write(other.at(0), 2);
  const auto again = test::refusal_of([&] { snapshots.take(); });
  EXPECT_EQ(again.number, ENOENT) << again.words;
  EXPECT_TRUE(again.names("unmapped or moved")) << again.words;
  write(other.at(1), 2);
}

TEST_F(snapshot_engine, keeps_memory_from_being_merged) {
  UFFDPP_REQUIRE(test::let_be_merged(memory().range()));
  ASSERT_TRUE(test::has_kernel_flag(memory().begin(), "mg"));
  const test::pictured snapshots(memory());
  EXPECT_FALSE(test::has_kernel_flag(memory().begin(), "mg"));
}

TEST_F(snapshot_engine, fails_where_memory_was_moved) {
  const auto& moved = test::memory_for_good(test::memory_kind::anonymous, pages);
  for (std::size_t page = 0; page < pages; ++page) write(moved.at(page), 1);
  test::pictured snapshots(moved);
  snapshots.take();
  const auto room = mapping::anonymous(moved.size());
  void* const to = room.bytes().data();
  const auto running = snapshots.begin({}, test::nothing_to_stop, [&] {
    for (std::size_t page = 0; page < pages; ++page) write(moved.at(page), 2);
  });
  running->wait();
  running->report();
  ASSERT_EQ(
      ::mremap(moved.bytes().data(), moved.size(), moved.size(), MREMAP_MAYMOVE | MREMAP_FIXED, to),
      to);
  EXPECT_NE(test::thrown([&] { snapshots.take_full(); }), 0);
  write(room.range().begin(), 3);
}

TEST_F(snapshot_engine, saves_several_areas_of_different_pages) {
  UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::shared_huge, 2));
  const test::memory huge(test::memory_kind::shared_huge, 2);
  const test::memory shared(test::memory_kind::shared, 4);
  write(huge.at(1), 11);
  write(shared.at(3), 33);
  test::pictured snapshots({test::pictured::area_of(memory()), test::pictured::area_of(huge),
                            test::pictured::area_of(shared)});
  snapshots.take();
  EXPECT_EQ(snapshots.of(0).pages_put(), pages);
  EXPECT_EQ(snapshots.of(1).numbers_put(), numbers{1});
  EXPECT_EQ(snapshots.of(2).numbers_put(), numbers{3});
  write(huge.at(0), 1);
  write(memory().at(7), 1);
  snapshots.take();
  EXPECT_EQ(snapshots.of(0).numbers_put(), numbers{7});
  EXPECT_EQ(snapshots.of(1).numbers_put(), numbers{0});
  EXPECT_EQ(snapshots.of(2).numbers_put(), numbers{});
}

TEST_F(snapshot_engine, can_be_a_client_of_a_handler) {
  fault_handler handler(test::zeroes_for_missing{}, test::handler_options_for_snapshots());
  const auto served = handler.serve(mapping::anonymous(4 * page_size()));
  std::optional<test::pictured> snapshots(std::in_place, memory(), snapshot_options{}, &handler);
  snapshots->take({}, test::nothing_to_stop, [&] { write(memory().at(9), 2); });
  write(memory().at(10), 2);
  EXPECT_EQ(test::look(served.info().range.begin()), test::shows(0));
  snapshots->take();
  EXPECT_EQ(snapshots->of().numbers_put(), (numbers{9, 10}));
  snapshots.reset();
  write(memory().at(11), 2);
  EXPECT_EQ(test::look(served.info().range.end() - 1), test::shows(0));
}

TEST_F(snapshot_engine, refuses_handlers_that_lack_something_by_name) {
  const auto refusal_with = [&](open_options open, test::memory_kind kind) {
    auto options = fault_handler_options{};
    options.forks = fork_policy::not_inherited;
    options.open = open;
    fault_handler handler([](fault& raised) { return raised.unprotect(); }, options);
    const test::memory other(kind, 1);
    return test::refusal_of([&] { test::pictured(other, {}, &handler); });
  };
  const auto none =
      refusal_with({.kernel_faults = kernel_fault_policy::required}, test::memory_kind::anonymous);
  EXPECT_EQ(none.number, EINVAL);
  EXPECT_TRUE(none.names("pagefault_flag_wp")) << none.words;
  const auto shared = refusal_with(
      {.required = feature::pagefault_flag_wp, .kernel_faults = kernel_fault_policy::required},
      test::memory_kind::shared);
  EXPECT_EQ(shared.number, EINVAL);
  EXPECT_TRUE(shared.names("wp_hugetlbfs_shmem")) << shared.words;
  if (test::user_mode_faults_only().empty()) {
    const auto user = refusal_with(
        {.required = feature::pagefault_flag_wp, .kernel_faults = kernel_fault_policy::never},
        test::memory_kind::anonymous);
    EXPECT_EQ(user.number, EINVAL);
    EXPECT_TRUE(user.names("kernel_fault_policy::required")) << user.words;
  }
}

TEST_F(snapshot_engine, refuses_what_is_no_memory_to_save) {
  const auto refusal = [](page_range range, std::size_t page, snapshot_options options = {}) {
    region_info info;
    info.range = range;
    info.page_size = page;
    return test::refusal_of([&] { test::pictured(std::vector<region_info>{info}, options); });
  };
  EXPECT_EQ(refusal({}, page_size()).number, EINVAL);
  EXPECT_EQ(refusal({memory().begin() + 1, page_size()}, page_size()).number, EINVAL);
  EXPECT_TRUE(refusal(test::unmapped_page(), page_size()).names("nothing is mapped"));
  EXPECT_TRUE(refusal(memory().range(), page_size(), {.extra_memory = 1}).names("extra_memory"));
  EXPECT_EQ(test::thrown([] { test::pictured(std::vector<region_info>{}); }), EINVAL);
  const test::pictured first(memory());
  EXPECT_EQ(refusal(memory().range(), page_size()).number, EBUSY);
}

TEST_F(snapshot_engine, refuses_an_area_of_two_kinds) {
  UFFDPP_REQUIRE(test::snapshots_of(test::memory_kind::shared, 1));
  const auto shared = mapping::shared(page_size());
  ASSERT_NE(::mmap(memory().bytes().data(), page_size(), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, shared.file(), 0),
            MAP_FAILED);
  EXPECT_TRUE(test::refusal_of([&] { test::pictured{memory()}; }).names("an area of its own"));
}

TEST_F(snapshot_engine, passes_on_what_the_caller_throws_and_goes_on) {
  test::pictured snapshots(memory());
  const auto fail = [] { throw std::system_error(EDOM, std::generic_category()); };
  EXPECT_EQ(test::thrown([&] { snapshots.take({}, fail); }), EDOM);
  EXPECT_EQ(test::thrown([&] { snapshots.take({}, test::nothing_to_stop, fail); }), EDOM);
  write(memory().at(3), 2);
  EXPECT_FALSE(snapshots.take().is_delta);
  EXPECT_EQ(snapshots.of().pages_put(), pages);
  EXPECT_EQ(snapshots.of().at(3), 2);
}

TEST_F(snapshot_engine, leaves_a_forked_child_its_memory) {
  if (test::thread_sanitizer) GTEST_SKIP() << "a child of a process with threads";
  std::optional<test::pictured> snapshots(std::in_place, memory());
  snapshots->take();
  EXPECT_EQ(test::in_child([&] {
              if (test::try_write(memory().at(1), 5) != test::shows(5)) return 1;
              if (test::thrown([&] { snapshots->begin(); }) != EOWNERDEAD) return 2;
              snapshots.reset();
              return test::look(memory().at(1)) == test::shows(5) ? 0 : 3;
            }),
            test::exits_with(0));
  write(memory().at(2), 2);
  snapshots->take();
  EXPECT_EQ(snapshots->of().numbers_put(), numbers{2});
}

}  // namespace
}  // namespace uffd
