// SPDX-License-Identifier: MIT
// What a forked child may do with its parent's handler, and what it sees of the served memory.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
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
    if (GetParam() == fork_policy::follow) UFFDPP_REQUIRE(test::fork_events());
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

TEST_P(forked_handler, shows_the_child_no_zeroes) {
  const auto missing = begin_ + 2 * page_size();
  const auto end = test::in_child([&] { return test::read_byte(missing) == std::byte{3} ? 0 : 1; });
  if (GetParam() == fork_policy::follow)
    EXPECT_EQ(end, test::exits_with(0));
  else
    EXPECT_EQ(end, test::dies_of(SIGSEGV));
  parent_is_unaffected();
}

TEST_P(forked_handler, forgets_a_child_that_is_gone) {
  const auto descriptors = test::open_descriptors();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(test::in_child([] { return 0; }), test::exits_with(0));
  EXPECT_TRUE(test::eventually([&] { return handler_->statistics().children == 0; }));
  EXPECT_TRUE(test::eventually([&] { return test::open_descriptors() == descriptors; }));
}

TEST(forked_children, are_numbered_and_served_by_the_same_callbacks) {
  UFFDPP_REQUIRE(test::fork_events());
  std::atomic<std::size_t> forks{0};
  test::serving served(
      2, overloaded{
             [](fault& raised) { return test::fill(raised, static_cast<int>(raised.space()) + 1); },
             [&](const fork_event&, std::size_t space) { forks = space; }});
  for (int child = 1; child <= 3; ++child) {
    EXPECT_EQ(test::in_child([&] { return std::to_integer<int>(test::read_byte(served.at(0))); }),
              test::exits_with(child + 1));
    EXPECT_EQ(forks, static_cast<std::size_t>(child));
  }
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
}

TEST(forked_children, lose_a_region_that_ends) {
  UFFDPP_REQUIRE(test::fork_events());
  test::serving served(2, test::fill_by_offset());
  int go[2];
  ASSERT_EQ(::pipe(go), 0);
  test::forked child([&] {
    char byte = 0;
    static_cast<void>(::read(go[0], &byte, 1));
    return std::to_integer<int>(test::read_byte(served.at(1)));
  });
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().children == 1; }));
  served.end_region();
  ASSERT_EQ(::write(go[1], "x", 1), 1);
  EXPECT_EQ(child.wait(), test::dies_of(SIGBUS));
  ::close(go[0]);
  ::close(go[1]);
}

}  // namespace
}  // namespace uffd
