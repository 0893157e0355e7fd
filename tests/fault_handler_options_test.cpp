// SPDX-License-Identifier: MIT
// What a fault_handler's options do, and which handles it refuses.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <string>
#include <utility>

#include "support/awaited.hpp"
#include "support/descriptors.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

std::size_t handler_threads() { return test::running_threads("uffd-handler"); }

// Threads name themselves a moment after they were started.
void expect_threads(std::size_t count) {
  EXPECT_TRUE(test::eventually([&] { return handler_threads() == count; })) << handler_threads();
}

cpu_set_t allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  EXPECT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  return set;
}

int first_allowed_cpu() {
  const auto set = allowed_cpus();
  int cpu = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(cpu), &set)) ++cpu;
  return cpu;
}

TEST(fault_handler_options, threads_is_how_many_there_are) {
  for (const unsigned threads : {1U, 3U}) {
    fault_handler_options options;
    options.threads = threads;
    const fault_handler handler(test::fill_by_offset(), options);
    expect_threads(threads);
  }
  EXPECT_TRUE(test::eventually([] { return handler_threads() == 0; }));
}

TEST(fault_handler_options, threads_is_by_default_one_on_each_cpu_but_at_most_eight) {
  const fault_handler handler{test::fill_by_offset()};
  const auto allowed = allowed_cpus();
  expect_threads(static_cast<std::size_t>(std::min(CPU_COUNT(&allowed), 8)));
}

TEST(fault_handler_options, cpus_pins_one_thread_to_each) {
  const int cpu = first_allowed_cpu();
  fault_handler_options options;
  options.cpus = {cpu};
  std::atomic<int> count{0};
  std::atomic<int> ran_on{-1};
  test::serving served(
      test::memory_kind::anonymous, 1,
      [&](fault& raised) {
        const auto set = allowed_cpus();
        count = CPU_COUNT(&set);
        ran_on = ::sched_getcpu();
        return raised.zeropage();
      },
      register_mode::missing, options);
  EXPECT_EQ(test::look(served.at(0)), test::shows(0));
  EXPECT_EQ(count, 1);
  EXPECT_EQ(ran_on, cpu);
  expect_threads(1);
}

TEST(fault_handler_options, cpus_that_do_not_exist_are_refused_by_number_and_nothing_stays) {
  static_cast<void>(test::this_machine());
  const auto descriptors = test::open_descriptors();
  const auto threads = test::running_threads();
  fault_handler_options options;
  options.cpus = {first_allowed_cpu(), CPU_SETSIZE - 1};
  const auto said = test::complaint([&] { fault_handler(test::fill_by_offset(), options); });
  EXPECT_NE(said.find("CPU " + std::to_string(CPU_SETSIZE - 1)), std::string::npos) << said;
  EXPECT_TRUE(test::eventually([&] { return test::running_threads() == threads; }));
  EXPECT_EQ(test::open_descriptors(), descriptors);
}

TEST(fault_handler_options, cpus_beyond_what_the_kernel_counts_are_refused) {
  for (const int cpu : {-1, CPU_SETSIZE, 1 << 30}) {
    fault_handler_options options;
    options.cpus = {cpu};
    EXPECT_EQ(test::thrown([&] { fault_handler(test::fill_by_offset(), options); }), EINVAL) << cpu;
  }
}

TEST(fault_handler_options, threads_other_than_cpus_is_EINVAL) {
  fault_handler_options options;
  options.cpus = {first_allowed_cpu()};
  options.threads = 2;
  EXPECT_EQ(test::thrown([&] { fault_handler(test::fill_by_offset(), options); }), EINVAL);
}

void expect_busy_polling_to_serve(auto callbacks) {
  fault_handler_options options;
  options.threads = 2;
  options.busy_polling = true;
  test::serving served(test::memory_kind::anonymous, 8, std::move(callbacks),
                       register_mode::missing, options);
  for (std::size_t page = 0; page < 8; ++page)
    EXPECT_EQ(test::look(served.at(page)), test::shows(test::byte_of(page)));
}

TEST(fault_handler_options, busy_polling_serves_and_stops) {
  expect_busy_polling_to_serve(test::fill_by_offset());
  expect_busy_polling_to_serve(overloaded{test::fill_by_offset(), [](const remove_event&) {}});
}

TEST(fault_handler_options, statistics_are_zero_unless_asked_for) {
  test::serving served(1, test::fill_by_offset());
  EXPECT_EQ(test::look(served.at(0)), test::shows(1));
  const auto counted = served.handler().statistics();
  EXPECT_EQ(counted.missing, 0U);
  EXPECT_EQ(counted.resolved, 0U);
  EXPECT_EQ(counted.latency.total(), 0U);
}

TEST(fault_handler_options, buffer_size_is_what_a_callback_may_use) {
  fault_handler_options options = test::one_thread();
  options.buffer_size = 4 * page_size();
  test::serving served(
      test::memory_kind::anonymous, 4,
      [](fault& raised) {
        EXPECT_EQ(raised.buffer(64 * page_size()).size(), 4 * page_size());
        return raised.copy_buffer(raised.block(4 * page_size()), 0);
      },
      register_mode::missing, options);
  EXPECT_EQ(test::look(served.at(3)), test::shows(0));
}

TEST(fault_handler_options, open_may_ask_for_more_features) {
  fault_handler_options options = test::one_thread();
  options.open.required = feature::thread_id;
  const fault_handler handler(test::fill_by_offset(), options);
  EXPECT_TRUE(handler.on().features().has(feature::thread_id));
}

TEST(fault_handler_options, forks_are_followed_where_permitted_unless_they_are_not_wanted) {
  const fault_handler following(test::fill_by_offset(), test::one_thread());
  EXPECT_EQ(following.on().features().has(feature::event_fork), test::followed_forks().empty());
  fault_handler_options options = test::one_thread();
  options.forks = fork_policy::not_inherited;
  const fault_handler alone(test::fill_by_offset(), options);
  EXPECT_FALSE(alone.on().features().has(feature::event_fork));
}

TEST(fault_handler, blocks_signals_in_its_threads_but_those_of_their_own_faults) {
  std::atomic<bool> blocked{false};
  std::atomic<bool> own_open{false};
  test::serving served(1, [&](fault& raised) {
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = ::sigismember(&mask, SIGINT) == 1 && ::sigismember(&mask, SIGALRM) == 1 &&
              ::sigismember(&mask, SIGUSR1) == 1;
    own_open = ::sigismember(&mask, SIGSEGV) == 0 && ::sigismember(&mask, SIGBUS) == 0;
    return raised.zeropage();
  });
  EXPECT_EQ(test::look(served.at(0)), test::shows(0));
  EXPECT_TRUE(blocked);
  EXPECT_TRUE(own_open);
  sigset_t mine;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(::sigismember(&mine, SIGINT), 0) << "the caller's own mask was changed";
}

// --- handles ---

struct hearing {
  resolution on_page_fault(fault& raised) { return raised.zeropage(); }
  void on_remove(const remove_event&) {}
  void on_unmap(const unmap_event&) {}
};

std::string refusal(flags<feature> negotiated, auto handler) {
  return test::complaint([&] {
    fault_handler(handle::open({.required = negotiated}), std::move(handler), test::one_thread());
  });
}

TEST(fault_handler, serves_on_a_handle_it_is_given) {
  auto on = handle::open({.required = feature::event_remove | feature::event_unmap});
  const int number = on.fd();
  fault_handler handler(std::move(on), hearing{}, test::one_thread());
  EXPECT_EQ(handler.on().fd(), number);
  const auto memory = handler.serve(mapping::anonymous(page_size()));
  EXPECT_EQ(test::look(page_range(memory.bytes()).begin()), test::shows(0));
}

TEST(fault_handler, refuses_a_handle_that_lacks_an_event_and_names_it) {
  const auto said = refusal(feature::event_remove, hearing{});
  EXPECT_NE(said.find("event_unmap"), std::string::npos) << said;
  EXPECT_EQ(said.find("event_remove"), std::string::npos) << said;
}

TEST(fault_handler, refuses_a_handle_with_an_event_that_nobody_hears_and_names_it) {
  const auto said =
      refusal(feature::event_remove | feature::event_unmap | feature::event_remap, hearing{});
  EXPECT_NE(said.find("event_remap"), std::string::npos) << said;
  EXPECT_EQ(said.find("event_unmap"), std::string::npos) << said;
}

TEST(fault_handler, refuses_a_handle_with_fork_events_if_forks_are_not_followed) {
  UFFDPP_REQUIRE(test::fork_events());
  fault_handler_options options = test::one_thread();
  options.forks = fork_policy::not_inherited;
  const auto said = test::complaint([&] {
    fault_handler(handle::open({.required = feature::event_fork}), test::fill_by_offset(), options);
  });
  EXPECT_NE(said.find("event_fork"), std::string::npos) << said;
}

// Children whose missing pages could not be closed are not taken on.
TEST(fault_handler, refuses_to_follow_forks_where_the_kernel_lacks_poison) {
  UFFDPP_REQUIRE(test::fork_events());
  UFFDPP_REQUIRE(test::kernel_lacks(feature::poison));
  struct following {
    resolution on_page_fault(fault& raised) { return raised.zeropage(); }
    void on_fork(const fork_event&) {}
  };
  const auto said =
      test::complaint([] { const fault_handler handler(following{}, test::one_thread()); });
  EXPECT_NE(said.find("poison"), std::string::npos) << said;

  fault_handler given(handle::open({.required = feature::event_fork}), following{},
                      test::one_thread());
  const auto refused =
      test::refusal_of([&] { static_cast<void>(given.serve(mapping::anonymous(page_size()))); });
  EXPECT_EQ(refused.number, EOPNOTSUPP);
  EXPECT_TRUE(refused.names("poison")) << refused.words;
}

TEST(fault_handler, refuses_a_handle_with_the_feature_sigbus) {
  const auto said = refusal(feature::sigbus, test::fill_by_offset());
  EXPECT_NE(said.find("sigbus"), std::string::npos) << said;
}

TEST(fault_handler, refuses_a_moved_from_handle) {
  auto first = handle::open();
  const auto second = std::move(first);
  EXPECT_EQ(test::thrown([&] { fault_handler(std::move(first), test::fill_by_offset()); }), EBADF);
}

TEST(fault_handler, closes_the_handle_it_refused) {
  static_cast<void>(test::this_machine());
  const auto descriptors = test::open_descriptors();
  EXPECT_FALSE(refusal(feature::event_remove, test::fill_by_offset()).empty());
  EXPECT_EQ(test::open_descriptors(), descriptors);
}

}  // namespace
}  // namespace uffd
