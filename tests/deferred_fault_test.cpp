// SPDX-License-Identifier: MIT
#include "uffd/deferred_fault.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/closed_page.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/parking.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

using state = resolution::state;

static_assert(!std::is_copy_constructible_v<deferred_fault>);
static_assert(std::is_nothrow_move_constructible_v<deferred_fault>);
static_assert(std::is_nothrow_move_assignable_v<deferred_fault>);

// Anonymous memory all of whose faults are deferred.
class deferred : public testing::Test {
 protected:
  deferred() : served_(16, [this](fault& raised) { return parked_.put(raised.defer()); }) {}

  std::vector<std::byte> page_of(int value) const { return test::filled(page_size(), value); }

  test::parking parked_;
  test::serving served_;
};

TEST_F(deferred, fault_is_resolved_later_by_another_thread) {
  test::toucher reader(served_.at(3));
  auto fault = parked_.take();
  EXPECT_TRUE(reader.waits());
  std::thread([&] { EXPECT_TRUE(fault.copy(page_of(7)).is_resolved()); }).join();
  EXPECT_EQ(reader.saw(), test::shows(7));
  EXPECT_FALSE(test::error_after_stop(served_.handler()));
}

TEST_F(deferred, fault_tells_where_and_why) {
  test::toucher writer(served_.at(3) + 17, 1);
  auto fault = parked_.take();
  EXPECT_EQ(fault.page(), served_.memory().page(3));
  EXPECT_EQ(fault.offset(), 3 * page_size());
  EXPECT_EQ(fault.region().range, served_.memory().range());
  EXPECT_EQ(fault.space(), 0U);
  EXPECT_TRUE(fault.event().is_write());
  EXPECT_EQ(fault.event().kind(), fault_kind::missing);
  EXPECT_TRUE(fault.zeropage().is_resolved());
  EXPECT_EQ(writer.saw(), test::shows(1));
}

TEST_F(deferred, faults_in_flight_are_resolved_in_any_order) {
  constexpr std::size_t count = 16;
  std::deque<test::toucher> readers;
  for (std::size_t page = 0; page < count; ++page) readers.emplace_back(served_.at(page));
  ASSERT_TRUE(test::eventually([&] { return parked_.size() == count; }));
  std::vector<deferred_fault> faults;
  for (std::size_t i = 0; i < count; ++i) faults.push_back(parked_.take());
  std::mt19937 random(7);
  std::shuffle(faults.begin(), faults.end(), random);
  const auto resolve = [&](std::size_t from, std::size_t to) {
    for (auto i = from; i < to; ++i)
      EXPECT_TRUE(
          faults[i].copy(page_of(test::byte_of(faults[i].offset() / page_size()))).is_resolved());
  };
  std::thread other([&] { resolve(0, count / 2); });
  resolve(count / 2, count);
  other.join();
  for (std::size_t page = 0; page < count; ++page)
    EXPECT_EQ(readers[page].saw(), test::shows(test::byte_of(page)));
}

TEST_F(deferred, fault_resolves_the_pages_that_follow_too) {
  test::toucher reader(served_.at(1));
  EXPECT_TRUE(parked_.take().copy(test::filled(3 * page_size(), 9)).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(9));
  EXPECT_EQ(test::look(served_.at(3)), test::shows(9));
}

TEST_F(deferred, fault_resolved_beyond_its_range_is_EINVAL_and_still_to_be_resolved) {
  test::toucher reader(served_.at(15));
  auto fault = parked_.take();
  EXPECT_EQ(fault.copy(test::filled(2 * page_size(), 9)).error(), std::errc::invalid_argument);
  EXPECT_EQ(fault.copy({}).error(), std::errc::invalid_argument);
  EXPECT_TRUE(reader.waits());
  EXPECT_TRUE(fault.copy(page_of(7)).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(7));
}

TEST_F(deferred, fault_resolved_twice_is_gone) {
  test::toucher reader(served_.at(0));
  auto fault = parked_.take();
  EXPECT_TRUE(fault.copy(page_of(7)).is_resolved());
  EXPECT_EQ(fault.copy(page_of(8)).kind(), state::gone);
  EXPECT_EQ(fault.poison().kind(), state::gone);
  EXPECT_EQ(fault.fail(std::make_error_code(std::errc::io_error)).kind(), state::gone);
  EXPECT_EQ(reader.saw(), test::shows(7));
  EXPECT_EQ(test::look(served_.at(0)), test::shows(7));
}

TEST_F(deferred, fault_that_ends_unresolved_fails_closed) {
  test::toucher reader(served_.at(0));
  { const auto dropped = parked_.take(); }
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_EQ(test::error_after_stop(served_.handler()), std::errc::operation_canceled);
}

TEST_F(deferred, fault_that_fails_fails_closed_and_gives_its_error) {
  test::toucher reader(served_.at(0));
  EXPECT_TRUE(parked_.take().fail(std::make_error_code(std::errc::timed_out)).is_resolved());
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_EQ(test::error_after_stop(served_.handler()), std::errc::timed_out);
}

TEST_F(deferred, fault_may_be_poisoned) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  test::toucher reader(served_.at(0));
  EXPECT_TRUE(parked_.take().poison().is_resolved());
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
  EXPECT_FALSE(test::error_after_stop(served_.handler()));
}

TEST_F(deferred, fault_that_was_moved_from_is_gone) {
  test::toucher reader(served_.at(0));
  auto first = parked_.take();
  auto second = std::move(first);
  EXPECT_EQ(first.copy(page_of(8)).kind(), state::gone);
  EXPECT_EQ(first.poison().kind(), state::gone);
  EXPECT_TRUE(second.copy(page_of(7)).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(7));
}

TEST_F(deferred, fault_moved_over_fails_closed) {
  test::toucher lost(served_.at(0));
  auto fault = parked_.take();
  test::toucher kept(served_.at(1));
  fault = parked_.take();
  EXPECT_EQ(lost.saw(), test::closed_page());
  EXPECT_TRUE(fault.copy(page_of(7)).is_resolved());
  EXPECT_EQ(kept.saw(), test::shows(7));
}

TEST_F(deferred, fault_is_gone_after_its_region_ended) {
  test::toucher reader(served_.at(0));
  auto fault = parked_.take();
  served_.end_region();
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_EQ(fault.copy(page_of(7)).kind(), state::gone);
  EXPECT_EQ(test::look(served_.at(0)), test::closed_page());
}

// Nothing failed: there was nothing left to serve.
TEST_F(deferred, fault_that_ends_after_its_region_is_no_error) {
  test::toucher reader(served_.at(0));
  std::optional<deferred_fault> fault(parked_.take());
  served_.end_region();
  fault.reset();
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_FALSE(test::error_after_stop(served_.handler()));
}

TEST_F(deferred, fault_is_gone_after_the_handler_stopped) {
  test::toucher reader(served_.at(0));
  auto fault = parked_.take();
  EXPECT_FALSE(test::error_after_stop(served_.handler()));
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_EQ(fault.copy(page_of(7)).kind(), state::gone);
}

TEST_F(deferred, fault_is_let_alone_by_a_forked_child) {
  test::toucher reader(served_.at(0));
  std::optional<deferred_fault> fault(parked_.take());
  EXPECT_EQ(test::in_child([&] {
              const auto answer = fault->copy(page_of(8));
              fault.reset();
              return answer.is_resolved() ? 1 : 0;
            }),
            test::exits_with(0));
  EXPECT_TRUE(reader.waits());
  EXPECT_TRUE(fault->copy(page_of(7)).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(7));
}

TEST(deferred_fault, outlives_its_handler_and_is_gone) {
  const auto descriptors = test::open_descriptors();
  {
    test::parking parked;
    std::optional<deferred_fault> fault;
    {
      test::serving served(1, [&](uffd::fault& raised) { return parked.put(raised.defer()); });
      test::toucher reader(served.at(0));
      fault.emplace(parked.take());
      // The memory must outlive the reader, so the handler is what ends first.
      served.handler() = fault_handler(test::fill_by_offset(), test::one_thread());
      EXPECT_EQ(reader.saw(), test::closed_page());
    }
    EXPECT_GT(test::open_descriptors(), descriptors) << "it doesn't hold the descriptor";
    EXPECT_EQ(fault->copy(test::filled(page_size(), 7)).kind(), state::gone);
    EXPECT_EQ(fault->offset(), 0U);
  }
  EXPECT_EQ(test::open_descriptors(), descriptors);
}

// What was decided before the removal must not appear behind it.
TEST(deferred_fault, whose_page_was_removed_meanwhile_is_gone_and_comes_again) {
  test::parking parked;
  test::serving served(2, overloaded{[&](fault& raised) { return parked.put(raised.defer()); },
                                     [](const remove_event&) {}});
  test::toucher reader(served.at(0));
  auto outdated = parked.take();
  auto* const page = reinterpret_cast<void*>(served.at(0));
  ASSERT_EQ(::madvise(page, page_size(), MADV_DONTNEED), 0);
  EXPECT_EQ(outdated.copy(test::filled(page_size(), 1)).kind(), state::gone);
  EXPECT_TRUE(reader.waits()) << "old bytes behind the removal";
  auto again = parked.take();
  EXPECT_TRUE(again.copy(test::filled(page_size(), 2)).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(2));
}

TEST(deferred_fault, is_not_outdated_by_the_removal_of_another_page) {
  test::parking parked;
  test::serving served(2, overloaded{[&](fault& raised) { return parked.put(raised.defer()); },
                                     [](const remove_event&) {}});
  test::toucher reader(served.at(0));
  auto fault = parked.take();
  auto* const page = reinterpret_cast<void*>(served.at(1));
  ASSERT_EQ(::madvise(page, page_size(), MADV_DONTNEED), 0);
  resolution answer = resolution::retry();
  EXPECT_TRUE(test::eventually([&] {
    answer = fault.copy(test::filled(page_size(), 1));
    return answer.kind() != state::retry;
  }));
  EXPECT_TRUE(answer.is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(1));
}

}  // namespace
}  // namespace uffd
