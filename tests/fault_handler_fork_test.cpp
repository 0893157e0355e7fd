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
#include "support/background.hpp"
#include "support/descriptors.hpp"
#include "support/few_descriptors.hpp"
#include "support/forked.hpp"
#include "support/heard.hpp"
#include "support/held_child.hpp"
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
    buffer = reinterpret_cast<std::uintptr_t>(raised.buffer().data());
    return test::fill(raised, 7);
  });
  EXPECT_EQ(test::look(memory.at(0)), test::shows(7));
  EXPECT_EQ(test::look(buffer), test::shows(7)) << "this is not its buffer";
  EXPECT_EQ(test::in_child([&] { test::read_byte(buffer); }), test::dies_of(SIGSEGV));
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
  test::held_child child([&] { return std::to_integer<int>(test::read_byte(served.at(1))); });
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().children == 1; }));
  served.end_region();
  child.let_go();
  EXPECT_EQ(child.process().wait(), test::dies_of(SIGBUS));
}

class forked_children_of : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::fork_events()); }
  fault_handler_options options() const {
    fault_handler_options result;
    result.threads = GetParam();
    result.statistics = true;
    return result;
  }
};
INSTANTIATE_TEST_SUITE_P(threads, forked_children_of, testing::Values(1U, 4U));

TEST_P(forked_children_of, may_be_killed_while_their_fault_is_being_served) {
  test::signal started;
  test::signal go_on;
  test::heard<resolution::state> answers;
  std::optional<page_range> held_up;
  test::serving served(
      test::memory_kind::anonymous, 4,
      [&](fault& raised) {
        if (raised.page() != *held_up) return test::fill_by_offset()(raised);
        started.set();
        EXPECT_TRUE(go_on.comes());
        const auto answer = test::fill(raised, 1);
        answers.add(answer.kind());
        return answer;
      },
      register_mode::missing, options());
  held_up = served.memory().page(3);
  const auto second_page = [&] { return std::to_integer<int>(test::read_byte(served.at(1))); };
  test::held_child other(second_page);
  test::forked victim([&] { test::read_byte(held_up->begin()); });
  ASSERT_TRUE(started.comes());
  victim.kill();
  EXPECT_EQ(victim.wait(), test::dies_of(SIGKILL));
  test::toucher reader(served.at(0));
  if (GetParam() > 1) {
    EXPECT_EQ(reader.saw(), test::shows(1)) << "others wait for it";
  }
  go_on.set();
  EXPECT_EQ(reader.saw(), test::shows(1));
  EXPECT_EQ(answers.only(), resolution::state::gone);
  other.let_go();
  EXPECT_EQ(other.process().wait(), test::exits_with(2));
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().children == 0; }));
  EXPECT_FALSE(test::error_after_stop(served.handler()));
}

// While fork() is under way it holds the allocator's locks: until there are descriptors again
// nothing here may allocate, a failed assertion neither.
class forked_without_descriptors : public forked_children_of {
 protected:
  std::uint64_t unsuccessful_reads() { return served_.handler().statistics().empty_reads; }
  // A child reads page 2, and its parent page 3, while there is no descriptor for the child.
  void fork_without_descriptors() {
    test::signal full;
    test::signal forking;
    test::background reader([&] {
      EXPECT_TRUE(forking.comes());
      parent_saw_ = test::look(served_.at(3));
    });
    test::background forker([&] {
      EXPECT_TRUE(full.comes());
      end_ = test::in_child([&] { return std::to_integer<int>(test::read_byte(served_.at(2))); });
    });
    bool waits = false;
    {
      const test::no_more_descriptors until_here;
      const auto before = unsuccessful_reads();
      full.set();
      // A worker that frees something waits for fork() too; then only the standby reads, uncounted.
      test::eventually([&] { return unsuccessful_reads() > before + 20; }, 10 * test::moment);
      forking.set();
      waits = forker.blocks();
    }
    EXPECT_TRUE(waits) << "the fork's event was read";
    EXPECT_TRUE(forker.finishes());
    EXPECT_TRUE(reader.finishes());
  }

  test::serving served_{test::memory_kind::anonymous, 4, test::fill_by_offset(),
                        register_mode::missing, options()};
  test::ending end_;
  test::sight parent_saw_;
};
INSTANTIATE_TEST_SUITE_P(threads, forked_without_descriptors, testing::Values(1U, 4U));

TEST_P(forked_without_descriptors, is_served_once_there_are_some_again) {
  fork_without_descriptors();
  EXPECT_EQ(end_, test::exits_with(3));
  EXPECT_EQ(parent_saw_, test::shows(4));
  EXPECT_EQ(test::in_child([&] { return std::to_integer<int>(test::read_byte(served_.at(1))); }),
            test::exits_with(2));
}

TEST_P(forked_without_descriptors, is_reported_by_join) {
  fork_without_descriptors();
  EXPECT_EQ(test::error_after_stop(served_.handler()), std::errc::too_many_files_open);
}

TEST_P(forked_without_descriptors, is_reported_while_the_handler_runs_and_once) {
  fork_without_descriptors();
  EXPECT_EQ(test::thrown([&] { served_.handler().rethrow_error(); }), EMFILE);
  EXPECT_FALSE(test::error_after_stop(served_.handler()));
}

}  // namespace
}  // namespace uffd
