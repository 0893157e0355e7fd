// SPDX-License-Identifier: MIT
// What a forked child may do with its parent's handler, and what it sees of the served memory.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "support/awaited.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

class forked_handler : public testing::TestWithParam<fork_policy> {
 protected:
  void SetUp() override {
    if (GetParam() == fork_policy::follow) UFFDPP_REQUIRE(test::followed_forks());
    fault_handler_options options;
    options.threads = 2;
    options.forks = GetParam();
    handler_.emplace(test::fill_by_offset(), options);
    region_ = handler_->serve(mapping::anonymous(4 * page_size()));
    begin_ = page_range(region_.bytes()).begin();
    EXPECT_EQ(test::look(begin_), test::shows(1));
  }

  void parent_is_unaffected() {
    EXPECT_EQ(test::toucher(begin_ + page_size()).saw(), test::shows(2));
    EXPECT_EQ(test::look(begin_), test::shows(1));
    const auto more = handler_->serve(mapping::anonymous(page_size()));
    EXPECT_EQ(test::toucher(page_range(more.bytes()).begin()).saw(), test::shows(1));
    EXPECT_FALSE(test::error_after_stop(*handler_));
  }

  std::optional<fault_handler> handler_;
  served_region region_;
  std::uintptr_t begin_ = 0;
};
INSTANTIATE_TEST_SUITE_P(policy, forked_handler,
                         testing::Values(fork_policy::follow, fork_policy::not_inherited),
                         [](const auto& policy) {
                           return std::string(
                               policy.param == fork_policy::follow ? "follow" : "not_inherited");
                         });

TEST_P(forked_handler, ends_quietly_in_the_child) {
  EXPECT_EQ(test::in_child([&] { handler_.reset(); }), test::exits_with(0));
  parent_is_unaffected();
}

TEST_P(forked_handler, and_its_region_end_quietly_in_the_child_in_any_order) {
  EXPECT_EQ(test::in_child([&] {
              region_ = {};
              handler_.reset();
            }),
            test::exits_with(0));
  EXPECT_EQ(test::in_child([&] {
              handler_.reset();
              region_ = {};
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

TEST_P(forked_handler, refuses_to_be_used_in_the_child) {
  EXPECT_EQ(test::in_child([&] {
              if (test::thrown([&] { handler_->join(); }) != EOWNERDEAD) return 1;
              handler_->request_stop();
              const auto serve = [&] {
                static_cast<void>(handler_->serve(mapping::anonymous(page_size())));
              };
              if (test::thrown(serve) != EOWNERDEAD) return 2;
              if (test::thrown([&] { static_cast<void>(handler_->hand_over()); }) == 0) return 3;
              return 0;
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

TEST_P(forked_handler, refuses_to_be_handed_over_by_the_child) {
  for (const auto policy :
       {stop_policy::inaccessible, stop_policy::hand_over, stop_policy::leave_zero}) {
    fault_handler_options options;
    options.threads = 1;
    options.forks = GetParam();
    options.on_stop = policy;
    fault_handler handler(test::fill_by_offset(), options);
    const auto region = handler.serve(mapping::anonymous(2 * page_size()));
    const auto begin = page_range(region.bytes()).begin();
    EXPECT_EQ(test::in_child([&] {
                ::alarm(5);
                return test::thrown([&] { static_cast<void>(handler.hand_over()); }) == EOWNERDEAD
                           ? 0
                           : 1;
              }),
              test::exits_with(0));
    EXPECT_EQ(test::toucher(begin + page_size()).saw(), test::shows(2));
  }
  parent_is_unaffected();
}

TEST_P(forked_handler, shows_the_child_no_zeroes) {
  const auto missing = begin_ + 2 * page_size();
  const auto end = test::in_child([&] { return test::read_byte(missing) == std::byte{3} ? 0 : 1; });
  if (GetParam() == fork_policy::follow)
    EXPECT_EQ(end, test::exits_with(0));
  else
    EXPECT_EQ(end, test::dies_of(SIGSEGV));
  parent_is_unaffected();
}

TEST_P(forked_handler, keeps_its_buffers_from_the_child) {
  std::atomic<std::uintptr_t> buffer{0};
  const test::memory memory(test::memory_kind::anonymous, 1);
  const auto region = handler_->serve(memory.range(), [&](fault& raised) {
    const auto answer = test::fill(raised, 7);
    buffer = reinterpret_cast<std::uintptr_t>(raised.buffer().data());
    return answer;
  });
  EXPECT_EQ(test::look(memory.at(0)), test::shows(7));
  ASSERT_TRUE(test::eventually([&] { return buffer != 0; }));
  EXPECT_EQ(test::in_child([&] { test::read_byte(buffer); }), test::dies_of(SIGSEGV));
  parent_is_unaffected();
}

TEST_P(forked_handler, forgets_a_child_that_is_gone) {
  const auto descriptors = test::open_descriptors();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(test::in_child([] { return 0; }), test::exits_with(0));
  EXPECT_TRUE(test::eventually([&] { return handler_->statistics().children == 0; }));
  EXPECT_TRUE(test::eventually([&] { return test::open_descriptors() == descriptors; }));
}

}  // namespace
}  // namespace uffd
