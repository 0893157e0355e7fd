// SPDX-License-Identifier: MIT
// What a served region tells, and what its end leaves behind.
#include "uffd/served_region.hpp"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <optional>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/descriptors.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

class a_served_region : public testing::Test {
 protected:
  test::memory memory_{test::memory_kind::anonymous, 4};
  fault_handler handler_{test::fill_by_offset(), test::one_thread()};
  served_region region_;
};

TEST_F(a_served_region, tells_what_was_registered) {
  region_ = handler_.serve(memory_.page(1, 2), serve_options{.tag = 42});
  EXPECT_EQ(region_.info().range, memory_.page(1, 2));
  EXPECT_EQ(region_.info().page_size, page_size());
  EXPECT_EQ(region_.info().modes, register_mode::missing);
  EXPECT_TRUE(region_.info().ioctls.has(range_ioctl::copy | range_ioctl::wake));
  EXPECT_EQ(region_.info().tag, 42U);
  EXPECT_TRUE(region_.bytes().empty());
}

TEST_F(a_served_region, of_the_same_range_may_follow_its_end) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));  // else all of it stays inaccessible
  for (int round = 0; round < 5; ++round) {
    region_ = handler_.serve(memory_.page(0, 2));
    EXPECT_EQ(test::look(memory_.at(1)), test::shows(2));
    region_ = {};
  }
}

TEST_F(a_served_region, leaves_missing_pages_inaccessible_at_its_end_and_the_others_as_they_are) {
  region_ = handler_.serve(memory_.range());
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(2));
  region_ = {};
  EXPECT_EQ(test::look(memory_.at(0)), test::closed_page());
  EXPECT_EQ(test::look(memory_.at(1)), test::still_shows(2));
}

// Cancelled in a destructor, a thread would end the process.
TEST_F(a_served_region, ends_in_a_thread_that_is_cancelled) {
  sigbus_handler in_thread(async_signal_safe, test::fill_by_offset());
  region_ = handler_.serve(memory_.page(0, 2));
  auto other = in_thread.serve(memory_.page(2, 2));
  std::atomic<bool> went_on{false};
  test::background ending([&] {
    int before = 0;
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    ::pthread_cancel(::pthread_self());
    ::pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    region_ = {};
    other = {};
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    went_on = true;
  });
  EXPECT_TRUE(ending.finishes());
  EXPECT_TRUE(went_on);
  EXPECT_EQ(test::look(memory_.at(1)), test::closed_page());
}

TEST_F(a_served_region, leaves_zeroes_at_its_end_if_asked_to) {
  region_ = handler_.serve(memory_.page(0, 2), serve_options{.on_end = close_policy::leave_zero});
  auto other = handler_.serve(memory_.page(2, 2));
  other.complete();
  region_ = {};
  other = {};
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(0));
  EXPECT_EQ(test::look(memory_.at(3)), test::shows(0));
}

TEST_F(a_served_region, unmaps_an_owned_mapping_at_its_end) {
  auto owned = handler_.serve(mapping::anonymous(page_size()));
  const test::fence fenced(owned.bytes());
  const auto address = page_range(owned.bytes()).begin();
  EXPECT_EQ(test::look(address), test::shows(1));
  owned = {};
  EXPECT_EQ(test::look(address), test::takes_sigsegv);
}

TEST_F(a_served_region, goes_on_after_it_was_moved) {
  auto first = handler_.serve(memory_.page(0, 2));
  auto second = std::move(first);
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
  region_ = handler_.serve(memory_.page(2, 2));
  region_ = std::move(second);
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(2)) << "the one that was moved in ended";
  EXPECT_EQ(test::look(memory_.at(2)), test::closed_page()) << "the one moved over did not end";
}

TEST_F(a_served_region, waits_at_its_end_for_callbacks_that_run_on_it) {
  test::signal started;
  test::signal go_on;
  std::atomic<bool> finished{false};
  region_ = handler_.serve(memory_.range(), [&](fault& raised) {
    started.set();
    EXPECT_TRUE(go_on.comes());
    const auto answer = test::fill(raised, 9);
    finished = true;
    return answer;
  });
  test::toucher reader(memory_.at(0));
  ASSERT_TRUE(started.comes());
  std::atomic<bool> waited{false};
  test::background ender([&] {
    region_ = {};
    waited = finished.load();
  });
  EXPECT_TRUE(ender.blocks());
  go_on.set();
  ASSERT_TRUE(ender.finishes());
  EXPECT_TRUE(waited);
  EXPECT_TRUE(test::was_shown(reader.saw(), 9));
}

TEST_F(a_served_region, does_not_wait_at_its_end_for_callbacks_of_others) {
  test::signal started;
  test::signal go_on;
  region_ = handler_.serve(memory_.page(0), [&](fault& raised) {
    started.set();
    EXPECT_TRUE(go_on.comes());
    return test::fill(raised, 9);
  });
  auto other = handler_.serve(memory_.page(1));
  test::toucher reader(memory_.at(0));
  ASSERT_TRUE(started.comes());
  {
    test::background ender([&] { other = {}; });
    EXPECT_TRUE(ender.finishes());
  }
  go_on.set();
  EXPECT_EQ(reader.saw(), test::shows(9));
  region_ = {};  // before what its callback refers to
}

TEST_F(a_served_region, may_end_in_its_own_callback) {
  test::signal assigned;
  test::signal ended;
  region_ = handler_.serve(memory_.range(), [&](fault& raised) {
    EXPECT_TRUE(assigned.comes());
    region_ = {};
    ended.set();
    return test::fill(raised, 9);
  });
  assigned.set();
  test::toucher reader(memory_.at(0));
  ASSERT_TRUE(ended.comes());
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_FALSE(test::error_after_stop(handler_));
}

TEST_F(a_served_region, lets_waiting_threads_take_SIGBUS_when_it_ends) {
  std::optional<deferred_fault> kept;
  test::signal deferred;
  region_ = handler_.serve(memory_.range(), [&](fault& raised) {
    kept.emplace(raised.defer());
    deferred.set();
    return resolution::deferred();
  });
  test::toucher reader(memory_.at(0));
  ASSERT_TRUE(deferred.comes());
  region_ = {};
  EXPECT_EQ(reader.saw(), test::closed_page());
}

// One thread serves and is busy: the fault is unread when the region ends.
TEST_F(a_served_region, lets_threads_whose_fault_nobody_read_take_SIGBUS_when_it_ends) {
  test::signal started;
  test::signal go_on;
  const auto busy = handler_.serve(memory_.page(0), [&](fault& raised) {
    started.set();
    EXPECT_TRUE(go_on.comes());
    return test::fill(raised, 9);
  });
  region_ = handler_.serve(memory_.page(1));
  test::toucher blocker(memory_.at(0));
  ASSERT_TRUE(started.comes());
  test::toucher reader(memory_.at(1));
  EXPECT_TRUE(reader.waits());
  region_ = {};
  EXPECT_EQ(reader.saw(), test::closed_page());
  go_on.set();
  EXPECT_EQ(blocker.saw(), test::shows(9));
}

TEST_F(a_served_region, may_outlive_its_handler) {
  const auto descriptors = test::open_descriptors();
  {
    served_region memory;
    {
      fault_handler handler(test::fill_by_offset(), test::one_thread());
      memory = handler.serve(mapping::anonymous(2 * page_size()));
      EXPECT_EQ(test::look(page_range(memory.bytes()).begin()), test::shows(1));
    }
    EXPECT_EQ(test::look(page_range(memory.bytes()).begin()), test::still_shows(1));
    EXPECT_EQ(test::look(page_range(memory.bytes()).begin() + page_size()), test::closed_page());
  }
  EXPECT_EQ(test::open_descriptors(), descriptors);
}

TEST_F(a_served_region, of_nothing_ends_quietly) {
  served_region none;
  EXPECT_TRUE(none.bytes().empty());
  none = served_region();
}

}  // namespace
}  // namespace uffd
