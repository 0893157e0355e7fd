// SPDX-License-Identifier: MIT
// How a fault_handler stops, and what the next toucher sees under each policy.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

// Page 0 is served at once; the others stay in flight as their tags say.
enum class in_flight : std::uint64_t { deferred, retried };

// A handler with faults in flight: page 0 is present, 1 is being waited for, 2 was never touched.
class stopping : public testing::TestWithParam<in_flight> {
 protected:
  void start(stop_policy policy) {
    fault_handler_options options;
    options.threads = 2;
    options.on_stop = policy;
    handler_.emplace([this](fault& raised) { return answer(raised); }, options);
    region_ = handler_->serve(memory_.range());
    EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
    reader_.emplace(memory_.at(1));
    EXPECT_TRUE(waits_.comes());
  }

  resolution answer(fault& raised) {
    if (raised.offset() == 0) return test::fill(raised, 1);
    waits_.set();
    if (GetParam() == in_flight::retried) return resolution::retry();
    deferred_.emplace(raised.defer());
    return resolution::deferred();
  }

  void stop() {
    handler_->request_stop();
    handler_->join();
  }

  test::memory memory_{test::memory_kind::anonymous, 3};
  test::signal waits_;
  std::optional<deferred_fault> deferred_;
  std::optional<fault_handler> handler_;
  served_region region_;
  std::optional<test::toucher> reader_;
};
INSTANTIATE_TEST_SUITE_P(faults, stopping, testing::Values(in_flight::deferred, in_flight::retried),
                         [](const auto& kind) {
                           return kind.param == in_flight::deferred ? "deferred" : "retried";
                         });

TEST_P(stopping, inaccessible_gives_a_signal_and_never_zeroes) {
  start(stop_policy::inaccessible);
  stop();
  EXPECT_EQ(reader_->saw(), test::closed_page());
  EXPECT_EQ(test::look(memory_.at(2)), test::closed_page());
  EXPECT_EQ(test::look(memory_.at(0)), test::still_shows(1));
}

TEST_P(stopping, by_destruction_does_the_same) {
  start(stop_policy::inaccessible);
  handler_.reset();
  EXPECT_EQ(reader_->saw(), test::closed_page());
  EXPECT_EQ(test::look(memory_.at(2)), test::closed_page());
  EXPECT_EQ(test::look(memory_.at(0)), test::still_shows(1));
}

TEST_P(stopping, leave_zero_shows_zeroes) {
  start(stop_policy::leave_zero);
  stop();
  EXPECT_EQ(reader_->saw(), test::shows(0));
  EXPECT_EQ(test::look(memory_.at(2)), test::shows(0));
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
}

TEST_P(stopping, hand_over_lets_threads_wait_for_the_successor) {
  start(stop_policy::hand_over);
  auto handed = handler_->hand_over();
  test::toucher late(memory_.at(2));
  EXPECT_TRUE(late.waits());
  EXPECT_TRUE(reader_->waits());
  ASSERT_EQ(handed.regions.size(), 1U);
  EXPECT_EQ(handed.regions.front().range, memory_.range());
  EXPECT_TRUE(handed.children.empty());

  fault_handler successor(std::move(handed.on), test::fill_by_offset(), {.threads = 1});
  successor.serve_registered(handed.regions.front());
  EXPECT_EQ(late.saw(), test::shows(3));
  // What the callback holds back is raised again once it is let go.
  if (deferred_) {
    EXPECT_EQ(deferred_->zeropage().kind(), resolution::state::gone);
  }
  EXPECT_EQ(reader_->saw(), test::shows(2));
  EXPECT_EQ(test::look(memory_.at(0)), test::shows(1));
  EXPECT_FALSE(test::error_after_stop(successor));
}

// The successor may take its time between starting and being told what to serve.
TEST_P(stopping, hand_over_waits_for_a_slow_successor) {
  start(stop_policy::hand_over);
  auto handed = handler_->hand_over();
  deferred_.reset();
  const auto region = handed.regions.front();
  handed.regions.clear();
  fault_handler successor(std::move(handed), test::fill_by_offset(), {.threads = 1});
  EXPECT_TRUE(reader_->waits());
  successor.serve_registered(region);
  EXPECT_EQ(reader_->saw(), test::shows(2));
  EXPECT_FALSE(test::error_after_stop(successor));
}

TEST_P(stopping, hand_over_outlives_handler_and_region) {
  start(stop_policy::hand_over);
  std::optional<handed_over> handed(handler_->hand_over());
  handler_.reset();
  region_ = {};
  deferred_.reset();
  EXPECT_TRUE(reader_->waits());
  fault_handler successor(*std::move(handed), test::fill_by_offset(), {.threads = 1});
  EXPECT_EQ(reader_->saw(), test::shows(2));
}

TEST(fault_handler_stop, closes_what_a_callback_is_still_serving_only_after_it_returned) {
  test::signal started;
  test::signal go_on;
  test::serving served(2, [&](fault& raised) {
    started.set();
    EXPECT_TRUE(go_on.comes());
    return test::fill(raised, 7);
  });
  test::toucher first(served.at(0));
  ASSERT_TRUE(started.comes());
  test::toucher second(served.at(1));
  served.handler().request_stop();
  {
    test::background joiner([&] { served.handler().join(); });
    EXPECT_TRUE(joiner.blocks());
    go_on.set();
  }
  EXPECT_TRUE(test::was_shown(first.saw(), 7));
  const auto second_saw = second.saw();
  EXPECT_TRUE(second_saw == test::shows(7) || second_saw == test::closed_page());
}

TEST(fault_handler_stop, while_threads_fault_never_shows_zeroes) {
  for (int round = 0; round < 20; ++round) {
    constexpr std::size_t pages = 200;
    fault_handler_options options;
    options.threads = 2;
    test::serving served(test::memory_kind::anonymous, pages, test::fill_by_offset(),
                         register_mode::missing, options);
    std::atomic<int> wrong{0};
    {
      std::deque<test::background> threads;
      for (int thread = 0; thread < 2; ++thread)
        threads.emplace_back([&] {
          for (std::size_t page = 0; page < pages; ++page) {
            const auto seen = test::look(served.at(page));
            wrong += seen != test::shows(test::byte_of(page)) && seen != test::closed_page();
          }
        });
      served.handler().request_stop();
      served.handler().join();
    }
    EXPECT_EQ(wrong, 0);
  }
}

TEST(fault_handler_stop, may_be_requested_by_a_callback) {
  std::atomic<fault_handler*> self{nullptr};
  test::serving served(2, [&](fault& raised) {
    self.load()->request_stop();
    return test::fill(raised, 7);
  });
  self = &served.handler();
  EXPECT_TRUE(test::was_shown(test::toucher(served.at(0)).saw(), 7));
  served.handler().join();
  EXPECT_EQ(test::look(served.at(1)), test::closed_page());
}

TEST(fault_handler_stop, join_from_a_callback_is_EDEADLK) {
  std::atomic<fault_handler*> self{nullptr};
  std::atomic<int> join_threw{0};
  std::atomic<int> hand_over_threw{0};
  test::serving served(1, [&](fault& raised) {
    join_threw = test::thrown([&] { self.load()->join(); });
    hand_over_threw = test::thrown([&] { self.load()->hand_over(); });
    return test::fill(raised, 7);
  });
  self = &served.handler();
  EXPECT_EQ(test::look(served.at(0)), test::shows(7));
  EXPECT_EQ(join_threw, EDEADLK);
  EXPECT_EQ(hand_over_threw, EDEADLK);
}

TEST(fault_handler_stop, join_may_be_repeated_and_called_by_several_threads) {
  test::serving served(1, test::fill_by_offset());
  auto& handler = served.handler();
  test::background first([&] { handler.join(); });
  test::background second([&] { handler.join(); });
  EXPECT_TRUE(first.blocks());
  handler.request_stop();
  handler.request_stop();
  EXPECT_TRUE(first.finishes());
  EXPECT_TRUE(second.finishes());
  handler.join();
}

// A new thread may get the identity of one that was joined.
TEST(fault_handler_stop, join_after_the_stop_works_in_threads_started_since) {
  for (int round = 0; round < 20; ++round) {
    test::serving served(1, test::fill_by_offset());
    served.handler().request_stop();
    served.handler().join();
    int threw = 0;
    std::thread([&] { threw = test::thrown([&] { served.handler().join(); }); }).join();
    ASSERT_EQ(threw, 0);
  }
}

TEST(fault_handler_stop, hand_over_after_another_stop_is_ECANCELED) {
  test::serving served(1, test::fill_by_offset());
  served.handler().request_stop();
  EXPECT_EQ(test::thrown([&] { served.handler().hand_over(); }), ECANCELED);
}

TEST(fault_handler_stop, follows_its_stop_token) {
  std::stop_source source;
  fault_handler_options options;
  options.threads = 1;
  options.stop = source.get_token();
  test::serving served(test::memory_kind::anonymous, 2, test::fill_by_offset(),
                       register_mode::missing, options);
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  test::background joiner([&] { served.handler().join(); });
  EXPECT_TRUE(joiner.blocks());
  source.request_stop();
  EXPECT_TRUE(joiner.finishes());
  EXPECT_EQ(test::look(served.at(1)), test::closed_page());
}

TEST(fault_handler_stop, follows_a_token_stopped_before_the_start) {
  std::stop_source source;
  source.request_stop();
  fault_handler_options options;
  options.threads = 1;
  options.stop = source.get_token();
  fault_handler handler(test::fill_by_offset(), options);
  handler.join();
}

TEST(fault_handler_stop, by_a_token_after_its_end_does_nothing) {
  std::stop_source source;
  {
    fault_handler_options options;
    options.threads = 1;
    options.stop = source.get_token();
    const fault_handler handler(test::fill_by_offset(), options);
  }
  source.request_stop();
}

}  // namespace
}  // namespace uffd
