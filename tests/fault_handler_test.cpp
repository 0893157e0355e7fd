// SPDX-License-Identifier: MIT
#include "uffd/fault_handler.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <deque>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"

namespace uffd {
namespace {

TEST(fault_handler, runs_the_man_pages_program) {
  int letter = 'A';
  fault_handler handler(
      [&](fault& raised) {
        std::memset(raised.buffer().data(), letter++, raised.buffer().size());
        return raised.copy(raised.buffer());
      },
      {.threads = 1});
  const auto memory = handler.serve(mapping::anonymous(4 * page_size()));
  ASSERT_EQ(memory.bytes().size(), 4 * page_size());
  const auto begin = page_range(memory.bytes()).begin();
  for (std::size_t i = 0; i < memory.bytes().size(); i += 1024)
    EXPECT_EQ(test::look(begin + i), test::shows('A' + static_cast<int>(i / page_size())));
}

TEST(fault_handler, shows_one_page_to_all_threads_that_wait_for_it) {
  std::atomic<int> calls{0};
  test::signal all_wait;
  test::serving served(1, [&](fault& raised) {
    const int call = ++calls;
    EXPECT_TRUE(all_wait.comes());
    return test::fill(raised, call);
  });
  test::toucher first(served.at(0));
  test::toucher second(served.at(0) + 1);
  test::toucher third(served.at(0) + 2, 77);
  EXPECT_TRUE(first.waits());
  EXPECT_TRUE(second.waits());
  EXPECT_TRUE(third.waits());
  all_wait.set();
  EXPECT_EQ(first.saw(), test::shows(1));
  EXPECT_EQ(second.saw(), test::shows(1));
  EXPECT_EQ(third.saw(), test::shows(77));
}

TEST(fault_handler, serves_many_threads_on_many_pages) {
  constexpr std::size_t pages = 512;
  fault_handler_options options;
  options.threads = 3;
  test::serving served(test::memory_kind::anonymous, pages, test::fill_by_offset(),
                       register_mode::missing, options);
  std::atomic<int> wrong{0};
  {
    std::deque<test::background> threads;
    for (std::size_t thread = 0; thread < 4; ++thread)
      threads.emplace_back([&, thread] {
        for (std::size_t i = 0; i < pages; ++i) {
          const auto page = (i * 7 + thread * 131) % pages;
          wrong += test::look(served.at(page)) != test::shows(test::byte_of(page)) ? 1 : 0;
        }
      });
  }
  EXPECT_EQ(wrong, 0);
}

struct marking {
  int value;
  resolution operator()(fault& raised) const { return test::fill(raised, value); }
};

TEST(fault_handler, gives_a_fault_to_the_client_of_its_region) {
  fault_handler handler(marking{1}, test::one_thread());
  const test::memory memory(test::memory_kind::anonymous, 6);
  const auto own = handler.serve(memory.page(0, 2));
  const auto second = handler.serve(memory.page(2, 2), marking{2});
  marking referred{3};
  const auto third = handler.serve(memory.page(4, 2), std::ref(referred));
  for (std::size_t page = 0; page < 6; ++page)
    EXPECT_EQ(test::look(memory.at(page)), test::shows(static_cast<int>(page / 2) + 1));
}

TEST(fault_handler, tells_regions_apart_by_tag) {
  fault_handler handler(
      [](fault& raised) { return test::fill(raised, static_cast<int>(raised.tag())); },
      test::one_thread());
  const test::memory memory(test::memory_kind::anonymous, 2);
  const auto first = handler.serve(memory.page(0), serve_options{.tag = 11});
  const auto second = handler.serve(memory.page(1), serve_options{.tag = 12});
  EXPECT_EQ(test::look(memory.at(1)), test::shows(12));
  EXPECT_EQ(test::look(memory.at(0)), test::shows(11));
}

TEST(fault_handler, serves_regions_that_come_and_go_while_threads_fault) {
  fault_handler_options options;
  options.threads = 2;
  fault_handler handler(test::fill_by_offset(), options);
  std::atomic<int> wrong{0};
  {
    std::deque<test::background> threads;
    for (int thread = 0; thread < 3; ++thread)
      threads.emplace_back([&] {
        for (int round = 0; round < 100; ++round) {
          const auto memory = handler.serve(mapping::anonymous(3 * page_size()));
          const auto begin = page_range(memory.bytes()).begin();
          for (std::size_t page = 0; page < 3; ++page)
            wrong += test::look(begin + page * page_size()) != test::shows(test::byte_of(page));
        }
      });
  }
  EXPECT_EQ(wrong, 0);
}

TEST(fault_handler, serves_what_a_callback_asked_it_to_serve) {
  std::optional<served_region> inner;
  std::atomic<fault_handler*> self{nullptr};
  test::signal made;
  fault_handler handler(
      [&](fault& raised) {
        if (!inner) inner.emplace(self.load()->serve(mapping::anonymous(page_size())));
        made.set();
        return test::fill(raised, 5);
      },
      test::one_thread());
  self = &handler;
  const auto outer = handler.serve(mapping::anonymous(page_size()));
  EXPECT_EQ(test::look(page_range(outer.bytes()).begin()), test::shows(5));
  ASSERT_TRUE(made.comes());
  ASSERT_TRUE(inner);
  EXPECT_EQ(test::look(page_range(inner->bytes()).begin()), test::shows(5));
}

TEST(fault_handler, goes_on_serving_after_it_was_moved) {
  fault_handler first(marking{1}, test::one_thread());
  const auto memory = first.serve(mapping::anonymous(2 * page_size()));
  const auto begin = page_range(memory.bytes()).begin();
  fault_handler second(std::move(first));
  EXPECT_EQ(test::look(begin), test::shows(1));
  fault_handler third(marking{3}, test::one_thread());
  third = std::move(second);
  EXPECT_EQ(test::look(begin + page_size()), test::shows(1));
}

TEST(fault_handler, that_another_is_moved_into_stops) {
  fault_handler handler(marking{1}, test::one_thread());
  const test::memory memory(test::memory_kind::anonymous, 1);
  const auto region = handler.serve(memory.range());
  handler = fault_handler(marking{2}, test::one_thread());
  EXPECT_EQ(test::look(memory.at(0)), test::closed_page());
}

TEST(fault_handler, gives_callbacks_that_run_at_once_buffers_of_their_own) {
  test::signal first_runs;
  test::signal second_runs;
  std::atomic<const std::byte*> first_buffer{nullptr};
  std::atomic<const std::byte*> second_buffer{nullptr};
  fault_handler_options options;
  options.threads = 2;
  test::serving served(
      test::memory_kind::anonymous, 2,
      [&](fault& raised) {
        if (raised.offset() != 0) {
          second_buffer = raised.buffer().data();
          second_runs.set();
        } else {
          first_buffer = raised.buffer().data();
          first_runs.set();
          EXPECT_TRUE(second_runs.comes());
        }
        return test::fill_by_offset()(raised);
      },
      register_mode::missing, options);
  test::toucher first(served.at(0));
  ASSERT_TRUE(first_runs.comes());
  EXPECT_EQ(test::look(served.at(1)), test::shows(2));
  EXPECT_EQ(first.saw(), test::shows(1));
  EXPECT_NE(first_buffer, second_buffer);
}

TEST(fault_handler, fails_closed_on_faults_outside_every_served_range) {
  fault_handler handler(marking{1}, test::one_thread());
  const test::memory memory(test::memory_kind::anonymous, 1);
  handler.on().register_range(memory.range(), register_mode::missing);
  EXPECT_EQ(test::toucher(memory.at(0)).saw(), test::closed_page());
  EXPECT_EQ(test::error_after_stop(handler), std::errc::bad_address);
}

TEST(fault_handler, fails_closed_on_several_such_faults_at_once) {
  fault_handler handler(marking{1}, test::one_thread());
  const test::memory memory(test::memory_kind::anonymous, 3);
  handler.on().register_range(memory.range(), register_mode::missing);
  test::toucher first(memory.at(0));
  test::toucher second(memory.at(1));
  test::toucher third(memory.at(2));
  EXPECT_EQ(first.saw(), test::closed_page());
  EXPECT_EQ(second.saw(), test::closed_page());
  EXPECT_EQ(third.saw(), test::closed_page());
}

// 50 rounds, so that one leaked descriptor or thread shows.
TEST(fault_handler, leaves_no_descriptor_and_no_thread_behind) {
  const auto round = [](int threads) {
    fault_handler_options options;
    options.threads = static_cast<unsigned>(threads);
    fault_handler handler(
        overloaded{[](fault& raised) { return raised.zeropage(); }, [](const remove_event&) {}},
        options);
    const auto memory = handler.serve(mapping::anonymous(page_size()));
    EXPECT_EQ(test::look(page_range(memory.bytes()).begin()), test::shows(0));
  };
  const auto threads = test::running_threads();
  round(1);
  const auto descriptors = test::open_descriptors();
  for (int i = 0; i < 50; ++i) round(1 + i % 4);
  EXPECT_EQ(test::open_descriptors(), descriptors);
  // A thread that was joined may be listed a little longer.
  EXPECT_TRUE(test::eventually([&] { return test::running_threads() <= threads; }));
}

// A callback object that owns what its handler made keeps nothing alive in a circle.
TEST(fault_handler, leaves_no_descriptor_behind_whose_callbacks_own_its_deferred_faults) {
  const auto descriptors = test::open_descriptors();
  {
    test::signal deferred;
    struct keeper {
      test::signal* deferred;
      std::vector<deferred_fault> kept;
      resolution operator()(fault& raised) {
        kept.push_back(raised.defer());
        deferred->set();
        return resolution::deferred();
      }
    };
    fault_handler handler(keeper{&deferred, {}}, test::one_thread());
    const auto memory = handler.serve(mapping::anonymous(page_size()));
    test::toucher reader(page_range(memory.bytes()).begin());
    ASSERT_TRUE(deferred.comes());
    handler = fault_handler(marking{1}, test::one_thread());
    EXPECT_EQ(reader.saw(), test::closed_page());
  }
  EXPECT_EQ(test::open_descriptors(), descriptors);
}

TEST(fault_handler, that_ends_in_its_own_callback_ends_the_process) {
  const auto end = test::in_child([] {
    test::memory memory(test::memory_kind::anonymous, 1);
    std::optional<fault_handler> handler;
    handler.emplace([&](fault& raised) {
      handler.reset();
      return test::fill(raised, 7);
    });
    const auto region = handler->serve(memory.range());
    test::look(memory.at(0));
  });
  EXPECT_EQ(end, test::dies_of(SIGABRT));
}

}  // namespace
}  // namespace uffd
