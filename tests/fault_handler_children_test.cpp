// SPDX-License-Identifier: MIT
// Forked children that are followed: served, killed, and forked without a descriptor left.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/few_descriptors.hpp"
#include "support/forked.hpp"
#include "support/heard.hpp"
#include "support/held_child.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/sanitizers.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

TEST(forked_children, are_numbered_and_served_by_the_same_callbacks) {
  UFFDPP_REQUIRE(test::followed_forks());
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
  UFFDPP_REQUIRE(test::followed_forks());
  test::serving served(2, test::fill_by_offset());
  test::held_child child([&] { return std::to_integer<int>(test::read_byte(served.at(1))); });
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().children == 1; }));
  served.end_region();
  child.let_go();
  EXPECT_EQ(child.process().wait(), test::dies_of(SIGBUS));
}

// Where forks are the only events, nothing but their order of reading tells one from another.
TEST(forked_children, are_numbered_in_the_order_of_their_forks) {
  UFFDPP_REQUIRE(test::followed_forks());
  fault_handler_options options;
  options.threads = 4;
  for (int round = 0; round < 100; ++round) {
    const test::serving served(
        test::memory_kind::anonymous, 1,
        [](fault& raised) { return test::fill(raised, static_cast<int>(raised.space())); },
        register_mode::missing, options);
    const auto number = [&] { return std::to_integer<int>(test::read_byte(served.at(0))); };
    test::forked first(number);
    test::forked second(number);
    ASSERT_EQ(first.wait(), test::exits_with(1)) << "round " << round;
    ASSERT_EQ(second.wait(), test::exits_with(2)) << "round " << round;
  }
}

class forked_children_of : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::followed_forks()); }
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
  test::serving served(
      test::memory_kind::anonymous, 4,
      [&](fault& raised) {
        if (raised.offset() != 3 * page_size()) return test::fill_by_offset()(raised);
        started.set();
        EXPECT_TRUE(go_on.comes());
        const auto answer = test::fill(raised, 1);
        answers.add(answer.kind());
        return answer;
      },
      register_mode::missing, options());
  const auto second_page = [&] { return std::to_integer<int>(test::read_byte(served.at(1))); };
  test::held_child other(second_page);
  test::forked victim([&] { test::read_byte(served.at(3)); });
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
  void SetUp() override {
    if (test::thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer stops all threads while one forks";
    forked_children_of::SetUp();
  }
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
      waits = !forker.finishes(test::moment);  // looking into /proc takes a descriptor
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
