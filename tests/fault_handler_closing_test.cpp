// SPDX-License-Identifier: MIT
// Ends of handlers and ranges while children and other threads keep the memory changing: nothing
// waits for ever, nothing shows zeroes, and nobody's process is ended for it.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <deque>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/event_causes.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "support/held_child.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/fault_loop.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

auto with_removals() {
  return overloaded{test::fill_by_offset(), [](const remove_event&) {}};
}

// By the number of threads, and whether the child does something else in between.
class followed_child_that_drops_memory : public testing::TestWithParam<std::tuple<unsigned, bool>> {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::followed_forks()); }
  static fault_handler_options threads() {
    fault_handler_options options;
    options.threads = std::get<0>(GetParam());
    return options;
  }
  // Again and again until it is killed or its parent is gone.
  static auto dropping(page_range page) {
    return [page, pauses = std::get<1>(GetParam()), parent = ::getpid()] {
      while (::getppid() == parent) {
        test::drop(page);
        for (int i = 0; pauses && i < 1000; ++i) static_cast<void>(::getppid());
      }
    };
  }

  const test::memory memory_{test::memory_kind::anonymous, 4};
};
INSTANTIATE_TEST_SUITE_P(threads, followed_child_that_drops_memory,
                         testing::Combine(testing::Values(1U, 3U), testing::Bool()),
                         [](const auto& made) {
                           return std::to_string(std::get<0>(made.param)) +
                                  (std::get<1>(made.param) ? "_now_and_then" : "_without_pause");
                         });

// Each drop is an event, and each unread event keeps pages from being poisoned.
TEST_P(followed_child_that_drops_memory, all_the_time_lets_its_parent_stop) {
  fault_handler handler(with_removals(), threads());
  const auto region = handler.serve(memory_.range());
  const test::forked child(dropping(memory_.page(0)));
  ASSERT_TRUE(test::eventually([&] { return handler.statistics().children == 1; }));
  handler.request_stop();
  EXPECT_NO_THROW(handler.join());
  EXPECT_EQ(test::look(memory_.at(1)), test::takes_sigbus);
}

TEST_P(followed_child_that_drops_memory, all_the_time_lets_its_parents_range_end) {
  fault_handler handler(with_removals(), threads());
  std::optional region(handler.serve(memory_.range()));
  const test::forked child(dropping(memory_.page(0)));
  ASSERT_TRUE(test::eventually([&] { return handler.statistics().children == 1; }));
  region.reset();
  EXPECT_EQ(test::look(memory_.at(1)), test::takes_sigbus);
}

// Nobody dispatches when the child drops a page: its event is unread when the loop ends.
class loop_with_a_child_whose_event_is_unread : public testing::TestWithParam<stop_policy> {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::followed_forks());
    fault_handler_options options;
    options.on_stop = GetParam();
    loop_.emplace(with_removals(), options);
    region_ = loop_->serve(memory_.range());
    test::background forker([&] {
      child_.emplace([&] {
        test::drop(memory_.page(0));
        return test::look(memory_.at(1)) == test::shows(0) ? 0 : 1;
      });
    });
    while (!forker.finishes(std::chrono::milliseconds(1)) || loop_->statistics().children == 0)
      if (test::readable(loop_->fd(), std::chrono::milliseconds(1))) loop_->dispatch();
    child_->let_go();
    ASSERT_TRUE(test::readable(loop_->fd()));
  }

  const test::memory memory_{test::memory_kind::anonymous, 2};
  std::optional<fault_loop> loop_;
  served_region region_;
  std::optional<test::held_child> child_;
};
INSTANTIATE_TEST_SUITE_P(policies, loop_with_a_child_whose_event_is_unread,
                         testing::Values(stop_policy::inaccessible, stop_policy::leave_zero),
                         [](const auto& policy) {
                           return std::string(policy.param == stop_policy::leave_zero
                                                  ? "leave_zero"
                                                  : "inaccessible");
                         });

TEST_P(loop_with_a_child_whose_event_is_unread, ends_and_lets_the_child_go_on) {
  loop_.reset();
  EXPECT_EQ(child_->process().wait(),
            GetParam() == stop_policy::leave_zero ? test::exits_with(0) : test::dies_of(SIGBUS));
}

TEST_P(loop_with_a_child_whose_event_is_unread, may_end_its_range_first) {
  region_ = {};
  loop_.reset();  // an event that came only at the end of the range is read here
  EXPECT_EQ(child_->process().wait(), test::dies_of(SIGBUS));
}

// Nobody reads the event before the range ends.
class ended_range_of_a_loop : public testing::Test {
 protected:
  template <class Callbacks>
  void serve(Callbacks&& callbacks) {
    loop_.emplace(std::forward<Callbacks>(callbacks));
    region_ = loop_->serve(memory_.range());
  }

  const test::memory memory_{test::memory_kind::anonymous, 2};
  std::optional<fault_loop> loop_;
  served_region region_;
};

TEST_F(ended_range_of_a_loop, that_was_moved_meanwhile_is_closed_where_it_is) {
  serve(overloaded{test::fill_by_offset(), [](const remap_event&) {}});
  const test::memory place(test::memory_kind::anonymous, 2);
  test::background mover([&] {
    EXPECT_NE(::mremap(memory_.bytes().data(), 2 * page_size(), 2 * page_size(),
                       MREMAP_MAYMOVE | MREMAP_FIXED, place.bytes().data()),
              MAP_FAILED);
  });
  ASSERT_TRUE(mover.waits_for_reader());
  region_ = {};
  EXPECT_TRUE(mover.finishes());
  EXPECT_EQ(test::look(place.at(1)), test::closed_page());
}

TEST_F(ended_range_of_a_loop, that_was_forked_meanwhile_is_closed_in_the_child_too) {
  UFFDPP_REQUIRE(test::followed_forks());
  serve(test::fill_by_offset());
  std::optional<test::held_child> child;
  test::background forker(
      [&] { child.emplace([&] { static_cast<void>(test::look(memory_.at(1))); }); });
  ASSERT_TRUE(test::readable(loop_->fd()));  // and nothing may allocate: fork() has the locks
  region_ = {};
  EXPECT_TRUE(forker.finishes());
  child->let_go();
  EXPECT_EQ(child->process().wait(), test::dies_of(SIGBUS));
}

// Its end reads the events of all, and more faults than can wait.
TEST_F(ended_range_of_a_loop, loses_no_fault_of_another) {
  serve(with_removals());
  constexpr std::size_t pages = 1300;
  const test::memory other(test::memory_kind::anonymous, pages);
  const auto other_region = loop_->serve(other.range());
  std::deque<test::toucher> readers;
  for (std::size_t page = 0; page < pages; ++page) readers.emplace_back(other.at(page));
  ASSERT_TRUE(readers.back().waits());
  test::background remover([&] { test::drop(memory_.page(0)); });
  ASSERT_TRUE(remover.waits_for_reader());
  region_ = {};
  EXPECT_TRUE(remover.finishes());
  while (test::readable(loop_->fd(), std::chrono::milliseconds(50))) loop_->dispatch();
  for (std::size_t page = 0; page < pages; ++page)
    EXPECT_EQ(readers[page].saw(), test::shows(test::byte_of(page)));
}

// Beyond the end of the file every access is SIGBUS; POISON answers EFAULT there.
TEST(range_of_a_truncated_file, ends_while_a_child_has_it_too) {
  UFFDPP_REQUIRE(test::available(test::memory_kind::shared, 1));
  UFFDPP_REQUIRE(test::followed_forks());
  constexpr std::size_t pages = 8;
  test::serving served(test::memory_kind::shared, pages, test::fill_by_offset());
  test::held_child child([&] { static_cast<void>(test::look(served.at(1))); });
  ASSERT_EQ(
      ::ftruncate(served.memory().mapping().file(), static_cast<off_t>(pages / 2 * page_size())),
      0);
  served.end_region();
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::look(served.at(pages - 1)), test::takes_sigbus);
  child.let_go();
  EXPECT_EQ(child.process().wait(), test::dies_of(SIGBUS));
}

// Neither ended nor protected for good: there is a page again when the file grows.
TEST(failing_page_of_a_truncated_file, is_a_sigbus_while_the_file_is_short) {
  UFFDPP_REQUIRE(test::available(test::memory_kind::shared, 2));
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  const test::memory memory(test::memory_kind::shared, 2);
  const auto set_size = [&](std::size_t pages) {
    EXPECT_EQ(::ftruncate(memory.mapping().file(), static_cast<off_t>(pages * page_size())), 0);
  };
  std::atomic<bool> cuts{true};
  fault_handler_options options = test::one_thread();
  options.open.required |= test::features_of(test::memory_kind::shared, register_mode::missing);
  fault_handler handler(
      [&](fault& raised) {
        if (cuts.exchange(false)) set_size(1);
        return test::fill_by_offset()(raised);
      },
      options);
  const auto region = handler.serve(memory.range());
  EXPECT_EQ(test::toucher(memory.at(1)).saw(), test::takes_sigbus);
  set_size(2);
  EXPECT_EQ(test::toucher(memory.at(1)).saw(), test::shows(test::byte_of(1)));
}

// The failed page is gone by then, and what is there now is served by somebody else.
TEST(failing_callback, whose_memory_was_replaced_does_not_close_what_is_there_now) {
  test::signal started;
  test::signal go_on;
  test::serving served(3, overloaded{[&](fault& raised) -> resolution {
                                       if (raised.tag() == 1) return test::fill(raised, 5);
                                       started.set();
                                       EXPECT_TRUE(go_on.comes());
                                       return std::errc::io_error;
                                     },
                                     [](const unmap_event&) {}});
  test::toucher reader(served.at(1));
  ASSERT_TRUE(started.comes());
  test::unmap(served.memory().page(1));
  // Whoever serves something sees to events first; the only thread is in its callback.
  const auto other = served.handler().serve(mapping::anonymous(page_size()));
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
  void* const place = reinterpret_cast<void*>(served.at(1));
  ASSERT_EQ(::mprotect(place, page_size(), PROT_READ | PROT_WRITE), 0);
  serve_options second;
  second.tag = 1;
  const auto later = served.handler().serve(served.memory().page(1), second);
  go_on.set();
  EXPECT_EQ(test::look(served.at(1)), test::shows(5));
}

// A callback object that lives until join() lets go of it must not be copied by a late serve.
TEST(serving_what_is_registered, against_a_join_is_refused_or_done) {
  for (int round = 0; round < 50; ++round) {
    const test::memory memory(test::memory_kind::anonymous, 1);
    fault_handler handler(test::fill_by_offset(), test::one_thread());
    const region registered(handler.on(), memory.range());
    test::background late([&] {
      try {
        handler.serve_registered(registered.info());
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code().value(), ECANCELED) << error.what();
      }
    });
    handler.request_stop();
    handler.join();
    EXPECT_TRUE(late.finishes());
  }
}

}  // namespace
}  // namespace uffd
