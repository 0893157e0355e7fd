// SPDX-License-Identifier: MIT
// What serve() accepts and refuses, and how served regions end.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/descriptors.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

class serve : public testing::Test {
 protected:
  // What serve() says about a range, and that the handler is as good as before.
  std::string refusal(page_range range, serve_options options = {}) {
    std::string said = test::complaint([&] { region_ = handler_.serve(range, options); });
    return said;
  }
  int refused(page_range range, serve_options options = {}) {
    return test::thrown([&] { region_ = handler_.serve(range, options); });
  }

  test::memory memory_{test::memory_kind::anonymous, 4};
  fault_handler handler_{test::fill_by_offset(), test::one_thread()};
  served_region region_;
};

TEST_F(serve, of_an_overlapping_range_is_EEXIST_and_names_it) {
  const auto first = handler_.serve(memory_.page(1, 2));
  EXPECT_EQ(refused(memory_.page(2, 2)), EEXIST);
  EXPECT_EQ(refused(memory_.page(0, 2)), EEXIST);
  EXPECT_EQ(refused(memory_.page(0, 4)), EEXIST);
  EXPECT_EQ(refused(memory_.page(1)), EEXIST);
  EXPECT_NE(refusal(memory_.page(2)).find(to_string(memory_.page(2))), std::string::npos);
  EXPECT_EQ(test::look(memory_.at(2)), test::shows(test::byte_of(1)));
}

TEST_F(serve, of_another_handles_range_is_EBUSY_and_leaves_it_free_to_be_served_later) {
  const auto other = handle::open();
  {
    const region owned(other, memory_.page(0));
    EXPECT_EQ(refused(memory_.page(0)), EBUSY);
    EXPECT_EQ(refused(memory_.page(0)), EBUSY) << "the first refusal left it in the table";
  }
  EXPECT_EQ(refused(memory_.page(1)), 0);
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(1));
}

TEST_F(serve, of_unaligned_empty_or_wrapping_ranges_is_EINVAL_and_says_why) {
  const auto begin = memory_.begin();
  EXPECT_EQ(refused({begin + 1, page_size()}), EINVAL);
  EXPECT_EQ(refused({begin, page_size() - 1}), EINVAL);
  EXPECT_EQ(refused({begin, 0}), EINVAL);
  EXPECT_EQ(refused({~std::uintptr_t{0} - page_size() + 1, 4 * page_size()}), EINVAL);
  EXPECT_NE(refusal({begin + 1, page_size()}).find("not aligned"), std::string::npos);
  EXPECT_NE(refusal({begin, 0}).find("empty"), std::string::npos);
}

TEST_F(serve, of_unmapped_memory_is_EINVAL_and_can_be_repeated) {
  // Nothing is ever mapped so low (vm.mmap_min_addr), while another thread may take what was freed.
  const page_range nothing(page_size(), page_size());
  EXPECT_EQ(refused(nothing), EINVAL);
  EXPECT_EQ(refused(nothing), EINVAL);
}

TEST_F(serve, with_a_page_size_that_is_none_is_EINVAL) {
  EXPECT_EQ(refused(memory_.range(), {.page_size = 3000}), EINVAL);
  EXPECT_EQ(refused(memory_.range(), {.page_size = page_size() / 2}), EINVAL);
}

TEST_F(serve, of_pages_larger_than_the_buffers_is_EINVAL_and_names_the_option) {
  fault_handler small(test::fill_by_offset(), {.threads = 1, .buffer_size = page_size()});
  const test::memory memory(test::memory_kind::anonymous, 4);
  // Aligned as far as anybody checks before the buffer is looked at.
  const auto begin = align_down(memory.begin(), 2 * page_size()) + 2 * page_size();
  const auto said = test::complaint([&] {
    region_ = small.serve(page_range(begin, 2 * page_size()),
                          serve_options{.page_size = 2 * page_size()});
  });
  EXPECT_NE(said.find("buffer_size"), std::string::npos) << said;
}

TEST_F(serve, by_callbacks_with_features_that_were_not_negotiated_is_EINVAL_and_names_them) {
  const auto said = test::complaint([&] {
    region_ = handler_.serve(
        memory_.range(),
        overloaded{[](fault& raised) { return raised.zeropage(); }, [](const remove_event&) {}});
  });
  EXPECT_NE(said.find("event_remove"), std::string::npos) << said;
}

TEST_F(serve, after_a_stop_is_ECANCELED) {
  handler_.request_stop();
  EXPECT_EQ(refused(memory_.range()), ECANCELED);
  handler_.join();
  EXPECT_EQ(refused(memory_.range()), ECANCELED);
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(0)) << "the memory was registered";
}

TEST_F(serve, tells_what_was_registered) {
  region_ = handler_.serve(memory_.page(1, 2), serve_options{.tag = 42});
  EXPECT_EQ(region_.info().range, memory_.page(1, 2));
  EXPECT_EQ(region_.info().page_size, page_size());
  EXPECT_EQ(region_.info().modes, register_mode::missing);
  EXPECT_TRUE(region_.info().ioctls.has(range_ioctl::copy | range_ioctl::wake));
  EXPECT_EQ(region_.info().tag, 42U);
  EXPECT_TRUE(region_.bytes().empty());
}

TEST_F(serve, serves_the_same_range_again_after_its_end) {
  for (int round = 0; round < 5; ++round) {
    region_ = handler_.serve(memory_.page(0, 2));
    EXPECT_EQ(test::look(memory_.at(1)), test::shows(2));
    region_ = {};
  }
}

TEST_F(serve, leaves_missing_pages_inaccessible_at_its_end_and_the_others_as_they_are) {
  region_ = handler_.serve(memory_.range());
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(2));
  region_ = {};
  EXPECT_EQ(test::look(memory_.at(0)), test::takes_sigbus);
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(2));
}

TEST_F(serve, leaves_zeroes_at_its_end_if_asked_to) {
  region_ = handler_.serve(memory_.page(0, 2), serve_options{.on_end = close_policy::leave_zero});
  auto other = handler_.serve(memory_.page(2, 2));
  other.complete();
  region_ = {};
  other = {};
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(0));
  EXPECT_EQ(test::look(memory_.at(3)), test::shows(0));
}

TEST_F(serve, unmaps_an_owned_mapping_at_its_end) {
  auto owned = handler_.serve(mapping::anonymous(page_size()));
  const auto address = page_range(owned.bytes()).begin();
  EXPECT_EQ(test::look(address), test::shows(1));
  owned = {};
  EXPECT_EQ(test::look(address), test::takes_sigsegv);
}

TEST_F(serve, goes_on_after_the_served_region_was_moved) {
  auto first = handler_.serve(memory_.page(0, 2));
  auto second = std::move(first);
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
  region_ = handler_.serve(memory_.page(2, 2));
  region_ = std::move(second);
  EXPECT_EQ(test::look(memory_.at(1)), test::shows(2)) << "the one that was moved in ended";
  EXPECT_EQ(test::look(memory_.at(2)), test::takes_sigbus) << "the one moved over did not end";
}

TEST_F(serve, waits_at_its_end_for_callbacks_that_run_on_it) {
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
  EXPECT_EQ(reader.saw(), test::shows(9));
}

TEST_F(serve, does_not_wait_at_its_end_for_callbacks_of_other_regions) {
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

TEST_F(serve, may_end_in_its_own_callback) {
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
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
  EXPECT_FALSE(test::error_after_stop(handler_));
}

TEST_F(serve, lets_waiting_threads_take_SIGBUS_when_it_ends) {
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
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
}

// One thread serves and is busy: the fault is unread when the region ends.
TEST_F(serve, lets_threads_whose_fault_nobody_read_take_SIGBUS_when_it_ends) {
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
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
  go_on.set();
  EXPECT_EQ(blocker.saw(), test::shows(9));
}

TEST(served_region, may_outlive_its_handler) {
  const auto descriptors = test::open_descriptors();
  {
    served_region memory;
    {
      fault_handler handler(test::fill_by_offset(), test::one_thread());
      memory = handler.serve(mapping::anonymous(2 * page_size()));
      EXPECT_EQ(test::look(page_range(memory.bytes()).begin()), test::shows(1));
    }
    EXPECT_EQ(test::look(page_range(memory.bytes()).begin()), test::shows(1));
    EXPECT_EQ(test::look(page_range(memory.bytes()).begin() + page_size()), test::takes_sigbus);
  }
  EXPECT_EQ(test::open_descriptors(), descriptors);
}

TEST(served_region, of_nothing_ends_quietly) {
  served_region none;
  EXPECT_TRUE(none.bytes().empty());
  none = served_region();
}

}  // namespace
}  // namespace uffd
