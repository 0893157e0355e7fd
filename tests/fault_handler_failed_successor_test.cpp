// SPDX-License-Identifier: MIT
// Successors that can't start: what was handed over to them must not end in zeroes, nor hang.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>

#include "support/closed_page.hpp"
#include "support/forked.hpp"
#include "support/held_child.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

// Whose page it is: the predecessor fills with 1, a successor with 2.
auto fill_with(int value) {
  return [value](fault& raised) { return test::fill(raised, value); };
}

// Ways in which a successor can't be had, before or after it took over.
struct impossible {
  const char* name;
  bool may_serve_before;  // its first thread may have answered a fault
  void (*attempt)(handed_over, fault_handler_options);
  friend void PrintTo(const impossible& way, std::ostream* out) { *out << way.name; }
};
constexpr impossible needs_more_features{
    "needs_more_features", false, [](handed_over handed, fault_handler_options options) {
      fault_handler(std::move(handed), overloaded{fill_with(2), [](const remove_event&) {}},
                    options);
    }};
constexpr impossible on_no_cpu{"on_no_cpu", false,
                               [](handed_over handed, fault_handler_options options) {
                                 options.threads = 0;
                                 options.cpus = {CPU_SETSIZE - 1};
                                 fault_handler(std::move(handed), fill_with(2), options);
                               }};
constexpr impossible with_second_thread_on_no_cpu{
    "with_second_thread_on_no_cpu", true, [](handed_over handed, fault_handler_options options) {
      options.threads = 0;
      options.cpus = {::sched_getcpu(), CPU_SETSIZE - 1};
      fault_handler(std::move(handed), fill_with(2), options);
    }};
constexpr impossible with_a_range_served_twice{
    "with_a_range_served_twice", false, [](handed_over handed, fault_handler_options options) {
      handed.regions.push_back(handed.regions.front());
      fault_handler(std::move(handed), fill_with(2), options);
    }};

using way_and_policy = std::tuple<impossible, stop_policy>;
std::string name_of(const testing::TestParamInfo<way_and_policy>& parameters) {
  constexpr std::array policies{"inaccessible", "hand_over", "leave_zero"};
  const auto [way, policy] = parameters.param;
  return std::string(way.name) + "_" + policies.at(static_cast<std::size_t>(policy));
}

class failed_successor : public testing::TestWithParam<way_and_policy> {};
INSTANTIATE_TEST_SUITE_P(
    ways, failed_successor,
    testing::Combine(testing::Values(needs_more_features, on_no_cpu, with_second_thread_on_no_cpu,
                                     with_a_range_served_twice),
                     testing::Values(stop_policy::inaccessible, stop_policy::hand_over,
                                     stop_policy::leave_zero)),
    name_of);

TEST_P(failed_successor, closes_what_it_was_given_and_never_shows_zeroes) {
  const auto way = std::get<0>(GetParam());
  const auto policy = std::get<1>(GetParam());
  const test::memory memory(test::memory_kind::anonymous, 4);
  fault_handler handler(fill_with(1), test::one_thread());
  const auto region = handler.serve(memory.range());
  EXPECT_EQ(test::look(memory.at(0)), test::shows(1));
  auto handed = handler.hand_over();
  test::toucher waiting(memory.at(1));
  EXPECT_TRUE(waiting.waits());
  fault_handler_options options = test::one_thread();
  options.on_stop = policy;
  EXPECT_NE(test::thrown([&] { way.attempt(std::move(handed), options); }), 0);
  const auto seen = waiting.saw();
  EXPECT_TRUE(seen == test::closed_page() || (way.may_serve_before && seen == test::shows(2)));
  EXPECT_EQ(test::look(memory.at(2)), test::closed_page());
  EXPECT_EQ(test::look(memory.at(0)), test::still_shows(1));
}

TEST_P(failed_successor, closes_children_too) {
  UFFDPP_REQUIRE(test::followed_forks());
  const auto way = std::get<0>(GetParam());
  const auto policy = std::get<1>(GetParam());
  const test::memory memory(test::memory_kind::anonymous, 4);
  fault_handler handler(fill_with(1), test::one_thread());
  const auto region = handler.serve(memory.range());
  EXPECT_EQ(test::look(memory.at(0)), test::shows(1));
  const auto byte_of = [&](std::size_t page) {
    return [&memory, page] { return std::to_integer<int>(test::read_byte(memory.at(page))); };
  };
  test::held_child waiting(byte_of(1));
  test::held_child late(byte_of(2));
  test::held_child content(byte_of(0));
  auto handed = handler.hand_over();
  waiting.let_go();
  fault_handler_options options = test::one_thread();
  options.on_stop = policy;
  EXPECT_NE(test::thrown([&] { way.attempt(std::move(handed), options); }), 0);
  const auto end = waiting.process().wait();
  EXPECT_TRUE(end == test::dies_of(SIGBUS) || (way.may_serve_before && end == test::exits_with(2)))
      << end;
  late.let_go();
  EXPECT_EQ(late.process().wait(), test::dies_of(SIGBUS));
  content.let_go();
  EXPECT_EQ(content.process().wait(), test::exits_with(1));
}

TEST_P(failed_successor, leaves_what_was_lent_to_its_owner) {
  const auto way = std::get<0>(GetParam());
  const test::memory memory(test::memory_kind::anonymous, 2);
  fault_handler handler(fill_with(1), test::one_thread());
  const auto region = handler.serve(memory.range());
  auto owned = handler.hand_over();
  handed_over lent(handle::adopt(unique_fd(::dup(owned.on.fd())), owned.on.features()),
                   owned.regions);
  lent.lent = true;
  fault_handler_options options = test::one_thread();
  options.on_stop = std::get<1>(GetParam());
  EXPECT_NE(test::thrown([&] { way.attempt(std::move(lent), options); }), 0);
  test::toucher waiting(memory.at(1));
  EXPECT_TRUE(waiting.waits());
  const fault_handler successor(std::move(owned), fill_with(3), test::one_thread());
  EXPECT_EQ(waiting.saw(), test::shows(3));
}

}  // namespace
}  // namespace uffd
