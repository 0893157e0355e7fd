// SPDX-License-Identifier: MIT
// What the synchronous engine alone does: what both do is in write_tracker_test.cpp, its callback
// in trapped_writes_test.cpp.
#include "tracking/synchronous_tracking.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "support/kernel_flags.hpp"
#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/tracking.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/mapping.hpp"
#include "uffd/open_options.hpp"
#include "uffd/tracking/write_tracker.hpp"

namespace uffd {
namespace {

using test::collected;
using test::runs;
using test::write;

fault_handler_options with(flags<feature> features) {
  auto options = test::one_thread();
  options.forks = fork_policy::not_inherited;
  options.open.required = features;
  return options;
}

class synchronous_tracking : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::can_track(tracker_engine::synchronous)); }
  std::uintptr_t at(std::size_t page) const {
    return memory.range().begin() + page * uffd::page_size();
  }
  page_range page(std::size_t index) const { return {at(index), uffd::page_size()}; }

  const mapping memory = mapping::anonymous(4 * uffd::page_size());
};

TEST_F(synchronous_tracking, is_what_a_callback_before_writes_needs) {
  EXPECT_EQ(write_tracker([](page_range) {}).engine(), tracker_engine::synchronous);
}

TEST_F(synchronous_tracking, has_one_callback_for_all_that_is_tracked) {
  const auto owned = std::make_shared<int>(0);
  const write_tracker tracker([owned](page_range) {});
  const auto owners = owned.use_count();
  const auto one = tracker.track(page(0));
  const auto other = tracker.track(page(2));
  EXPECT_EQ(owned.use_count(), owners);
}

TEST_F(synchronous_tracking, serves_writes_of_threads_where_system_calls_are_forgone) {
  UFFDPP_REQUIRE(test::user_mode_faults_only());
  const write_tracker tracker(tracker_engine::synchronous,
                              {.kernel_faults = kernel_fault_policy::never});
  const auto tracked = tracker.track(memory);
  write(at(1));
  EXPECT_EQ(collected(tracked), runs{page(1)});
}

TEST_F(synchronous_tracking, tells_a_page_that_was_dropped_and_is_read_again) {
  for (std::size_t each = 0; each < 4; ++each) write(at(each), 1);
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(memory);
  ASSERT_EQ(::madvise(memory.bytes().data(), memory.bytes().size(), MADV_DONTNEED), 0);
  EXPECT_EQ(test::look(at(2)), test::shows(0));
  EXPECT_EQ(collected(tracked), runs{memory.range()});
  EXPECT_EQ(collected(tracked), runs{});
  EXPECT_EQ(test::look(at(2)), test::shows(0));
  EXPECT_EQ(test::look(at(3)), test::shows(0));
  EXPECT_EQ(collected(tracked), runs{});
}

TEST_F(synchronous_tracking, tells_once_what_was_written_and_dropped) {
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(memory);
  write(at(1));
  ASSERT_EQ(::madvise(memory.bytes().data(), memory.bytes().size(), MADV_DONTNEED), 0);
  EXPECT_EQ(collected(tracked), runs{page(1)});
  EXPECT_EQ(collected(tracked), runs{});
}

TEST_F(synchronous_tracking, tells_the_pages_of_a_transparent_huge_page_one_by_one) {
  constexpr std::size_t huge = test::huge_page_size;
  const auto large = mapping::anonymous(2 * huge);
  const page_range whole(align_up(large.range().begin(), huge), huge);
  if (::madvise(reinterpret_cast<void*>(whole.begin()), huge, MADV_HUGEPAGE) != 0)
    GTEST_SKIP() << "this kernel has no transparent huge pages";
  write(whole.begin(), 1);
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(whole);
  EXPECT_EQ(collected(tracked), runs{});
  write(whole.begin() + huge / 2);
  EXPECT_EQ(collected(tracked), (runs{{whole.begin() + huge / 2, uffd::page_size()}}));
}

TEST_F(synchronous_tracking, refuses_huge_pages_that_it_was_not_told_of) {
  UFFDPP_REQUIRE(test::available(test::memory_kind::huge, 1, register_mode::write_protect));
  const auto huge = mapping::huge(test::huge_page_size, test::huge_page_size);
  const write_tracker tracker(tracker_engine::synchronous);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(tracker.track(huge.range())); }), ENOTSUP);
}

TEST_F(synchronous_tracking, refuses_anonymous_memory_by_pages_that_it_does_not_have) {
  const auto large = mapping::anonymous(2 * test::huge_page_size);
  const page_range whole(align_up(large.range().begin(), test::huge_page_size),
                         test::huge_page_size);
  const write_tracker tracker(tracker_engine::synchronous);
  const auto refused =
      test::refusal_of([&] { static_cast<void>(tracker.track(whole, whole.size())); });
  EXPECT_EQ(refused.number, EINVAL);
  EXPECT_TRUE(refused.names("anonymous")) << refused.words;
}

TEST_F(synchronous_tracking, refuses_memory_of_two_kinds) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_hugetlbfs_shmem));
  const auto file = mapping::shared(uffd::page_size());
  ASSERT_NE(::mmap(reinterpret_cast<void*>(at(2)), uffd::page_size(), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, file.file(), 0),
            MAP_FAILED);
  const write_tracker tracker(tracker_engine::synchronous);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(tracker.track(memory)); }), EINVAL);
  const auto tracked = tracker.track(page(2));
  write(at(2));
  EXPECT_EQ(collected(tracked), runs{page(2)});
}

TEST_F(synchronous_tracking, may_be_the_client_of_a_handler_with_others) {
  const auto other = mapping::anonymous(uffd::page_size());
  fault_handler handler([](fault& raised) { return test::fill(raised, 5); },
                        with(feature::pagefault_flag_wp));
  const auto served = handler.serve(other.range());
  std::atomic<int> shown{0};
  const write_tracker tracker(handler, [&](page_range) { ++shown; });
  const auto tracked = tracker.track(memory);
  EXPECT_EQ(test::look(other.range().begin()), test::shows(5));
  write(at(1));
  EXPECT_EQ(shown, 1);
  EXPECT_EQ(collected(tracked), runs{page(1)});
}

TEST_F(synchronous_tracking, is_told_when_its_handler_has_stopped) {
  fault_handler handler([](fault& raised) { return test::fill(raised, 5); },
                        with(feature::pagefault_flag_wp));
  const write_tracker tracker(handler);
  const auto tracked = tracker.track(memory);
  handler.request_stop();
  handler.join();
  write(at(1));
  EXPECT_EQ(test::thrown([&] { static_cast<void>(collected(tracked)); }), ECANCELED);
}

TEST_F(synchronous_tracking, refuses_handlers_that_it_can_not_use) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated));
  fault_handler handler([](fault& raised) { return test::fill(raised, 5); },
                        with(feature::wp_unpopulated));
  const auto refused = test::refusal_of([&] { const write_tracker tracker(handler); });
  EXPECT_EQ(refused.number, EINVAL);
  EXPECT_TRUE(refused.names("wp_unpopulated")) << refused.words;
}

TEST(synchronous_tracking_without, privileges_is_refused_by_name) {
  if (test::kernel_faults().empty()) GTEST_SKIP() << "faults from system calls are permitted";
  const auto refused =
      test::refusal_of([] { const write_tracker tracker(tracker_engine::synchronous); });
  EXPECT_EQ(refused.number, EPERM);
  EXPECT_TRUE(refused.names("CAP_SYS_PTRACE")) << refused.words;
}

TEST_F(synchronous_tracking, keeps_memory_from_being_merged) {
  UFFDPP_REQUIRE(test::let_be_merged(memory.range()));
  const write_tracker tracker(tracker_engine::synchronous);
  const auto tracked = tracker.track(memory);
  EXPECT_FALSE(test::has_kernel_flag(memory.range().begin(), "mg"));
}

}  // namespace
}  // namespace uffd
