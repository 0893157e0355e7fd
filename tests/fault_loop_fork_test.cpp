// SPDX-License-Identifier: MIT
// What a forked child may do with its parent's fault_loop: nothing, and without harm.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_loop.hpp"

namespace uffd {
namespace {

using policies = std::tuple<fork_policy, stop_policy>;

std::string name_of(const testing::TestParamInfo<policies>& parameters) {
  constexpr std::array names{"inaccessible", "hand_over", "leave_zero"};
  const auto [forks, on_stop] = parameters.param;
  return std::string(forks == fork_policy::follow ? "follow_" : "not_inherited_") +
         names.at(static_cast<std::size_t>(on_stop));
}

class forked_loop : public testing::TestWithParam<policies> {
 protected:
  void SetUp() override {
    if (std::get<0>(GetParam()) == fork_policy::follow) UFFDPP_REQUIRE(test::followed_forks());
    fault_handler_options options;
    std::tie(options.forks, options.on_stop) = GetParam();
    loop_.emplace(test::fill_by_offset(), options);
    region_ = loop_->serve(memory_.range());
    owned_ = loop_->serve(mapping::anonymous(page_size()));
    EXPECT_EQ(saw(memory_.at(0)), test::shows(1));
  }

  template <class Done>
  void run_until(Done done) {
    while (!done())
      if (test::readable(loop_->fd(), std::chrono::milliseconds(1))) loop_->dispatch();
  }
  std::optional<test::sight> saw(std::uintptr_t address) {
    test::toucher reader(address);
    run_until([&] { return reader.finishes(std::chrono::milliseconds(0)); });
    return reader.saw();
  }
  // fork() itself waits for the loop where forks are followed.
  template <class Body>
  test::ending in_child(Body body) {
    test::ending end;
    test::background forker([&] { end = test::in_child(body); });
    run_until([&] { return forker.finishes(std::chrono::milliseconds(0)); });
    return end;
  }
  void parent_is_unaffected() {
    EXPECT_EQ(saw(memory_.at(1)), test::shows(2));
    EXPECT_EQ(saw(page_range(owned_.bytes()).begin()), test::shows(1));
    EXPECT_EQ(saw(memory_.at(0)), test::shows(1));
    const auto more = loop_->serve(mapping::anonymous(page_size()));
    EXPECT_EQ(saw(page_range(more.bytes()).begin()), test::shows(1));
    EXPECT_NO_THROW(loop_->rethrow_error());
  }

  const test::memory memory_{test::memory_kind::anonymous, 3};
  std::optional<fault_loop> loop_;
  served_region region_;
  served_region owned_;
};
INSTANTIATE_TEST_SUITE_P(
    policies, forked_loop,
    testing::Combine(testing::Values(fork_policy::follow, fork_policy::not_inherited),
                     testing::Values(stop_policy::inaccessible, stop_policy::hand_over,
                                     stop_policy::leave_zero)),
    name_of);

TEST_P(forked_loop, ends_in_the_child_without_harm_to_the_parent) {
  EXPECT_EQ(in_child([&] { loop_.reset(); }), test::exits_with(0));
  parent_is_unaffected();
}

TEST_P(forked_loop, and_its_regions_end_in_the_child_in_any_order) {
  EXPECT_EQ(in_child([&] {
              region_ = {};
              loop_.reset();
              owned_ = {};
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

TEST_P(forked_loop, refuses_to_serve_in_the_child) {
  EXPECT_EQ(in_child([&] {
              const test::memory memory(test::memory_kind::anonymous, 1);
              const auto borrowed = [&] { static_cast<void>(loop_->serve(memory.range())); };
              if (test::thrown(borrowed) != EOWNERDEAD) return 1;
              const auto owned = [&] {
                static_cast<void>(loop_->serve(mapping::anonymous(page_size())));
              };
              if (test::thrown(owned) != EOWNERDEAD) return 2;
              return test::look(memory.at(0)) == test::shows(0) ? 0 : 3;
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

TEST_P(forked_loop, dispatches_nothing_in_the_child) {
  test::toucher reader(memory_.at(2));
  EXPECT_TRUE(reader.waits());
  EXPECT_EQ(in_child([&] {
              for (int i = 0; i < 100; ++i) loop_->dispatch();
            }),
            test::exits_with(0));
  run_until([&] { return reader.finishes(std::chrono::milliseconds(0)); });
  EXPECT_EQ(reader.saw(), test::shows(3));
  parent_is_unaffected();
}

TEST_P(forked_loop, can_be_replaced_in_the_child_by_one_of_its_own) {
  EXPECT_EQ(in_child([&] {
              loop_.emplace(test::fill_by_offset(),
                            fault_handler_options{.forks = fork_policy::not_inherited});
              const test::memory memory(test::memory_kind::anonymous, 2);
              const auto region = loop_->serve(memory.range());
              loop_->dispatch();
              return loop_->on().copy(memory.at(1), test::filled(page_size(), 9)) &&
                             test::look(memory.at(1)) == test::shows(9)
                         ? 0
                         : 1;
            }),
            test::exits_with(0));
  parent_is_unaffected();
}

}  // namespace
}  // namespace uffd
