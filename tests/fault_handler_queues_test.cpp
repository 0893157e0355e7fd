// SPDX-License-Identifier: MIT
// The bounded queues of a handler when they are full: nobody hangs, nothing is served wrongly.
#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <deque>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/event_causes.hpp"
#include "support/heard.hpp"
#include "support/memory.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

// Threads with small stacks, each of which reads one page.
class crowd {
 public:
  crowd(const test::memory& memory, std::size_t count) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, std::size_t{256} << 10);
    for (std::size_t page = 0; page < count; ++page) {
      member& each = members_.emplace_back();
      each.address = memory.at(page);
      if (::pthread_create(&each.thread, &small, &crowd::run, &each) != 0) {
        members_.pop_back();
        break;
      }
    }
    pthread_attr_destroy(&small);
  }
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;
  ~crowd() { seen(); }

  std::size_t size() const { return members_.size(); }
  // What each saw, once all are done.
  std::vector<test::sight> seen() {
    std::vector<test::sight> all;
    for (member& each : members_) {
      if (!each.joined) ::pthread_join(each.thread, nullptr);
      each.joined = true;
      all.push_back(each.seen);
    }
    return all;
  }

 private:
  struct member {
    std::uintptr_t address = 0;
    pthread_t thread{};
    bool joined = false;
    test::sight seen;
  };
  static void* run(void* self) {
    auto& each = *static_cast<member*>(self);
    each.seen = test::look(each.address);
    return nullptr;
  }

  std::deque<member> members_;
};

// More than can wait to be tried again.
constexpr std::size_t too_many = 1200;

class waiting_faults_are_too_many : public testing::TestWithParam<unsigned> {
 protected:
  fault_handler_options options() const {
    fault_handler_options result;
    result.threads = GetParam();
    result.statistics = true;
    return result;
  }
  std::uint64_t dropped() { return served_.handler().statistics().dropped; }

  std::atomic<bool> ready_{false};
  test::serving served_{test::memory_kind::anonymous, too_many,
                        [this](fault& raised) {
                          return ready_ ? test::fill_by_offset()(raised) : resolution::retry();
                        },
                        register_mode::missing, options()};
};
INSTANTIATE_TEST_SUITE_P(threads, waiting_faults_are_too_many, testing::Values(1U, 3U));

TEST_P(waiting_faults_are_too_many, those_without_room_come_again_and_all_are_served_right) {
  crowd readers(served_.memory(), too_many);
  EXPECT_EQ(readers.size(), too_many);
  EXPECT_TRUE(test::eventually([&] { return dropped() > 100; })) << dropped();
  ready_ = true;
  const auto seen = readers.seen();
  for (std::size_t page = 0; page < seen.size(); ++page)
    ASSERT_EQ(seen[page], test::shows(test::byte_of(page))) << "page " << page;
  EXPECT_FALSE(test::error_after_stop(served_.handler()));
  EXPECT_EQ(served_.handler().statistics().failed, 0U);
}

TEST_P(waiting_faults_are_too_many, a_stop_leaves_none_waiting_and_none_with_zeroes) {
  crowd readers(served_.memory(), too_many);
  EXPECT_TRUE(test::eventually([&] { return dropped() > 100; })) << dropped();
  EXPECT_FALSE(test::error_after_stop(served_.handler()));
  const auto seen = readers.seen();
  EXPECT_EQ(std::count(seen.begin(), seen.end(), test::closed_page()),
            static_cast<std::ptrdiff_t>(seen.size()));
}

TEST_P(waiting_faults_are_too_many, a_successor_serves_them) {
  crowd readers(served_.memory(), too_many);
  EXPECT_TRUE(test::eventually([&] { return dropped() > 100; })) << dropped();
  const fault_handler successor(served_.handler().hand_over(), test::fill_by_offset(), options());
  const auto seen = readers.seen();
  for (std::size_t page = 0; page < seen.size(); ++page)
    ASSERT_EQ(seen[page], test::shows(test::byte_of(page))) << "page " << page;
}

// The callback of the first removal lasts, and all that are read behind it wait for theirs: once
// there is no room for more, nobody reads, and whoever removes waits too.
TEST(events_are_too_many, so_that_who_causes_more_waits_and_all_are_heard_in_order) {
  constexpr std::size_t pages = 64;
  constexpr std::size_t removals = 6000;
  test::signal began;
  test::signal let_go;
  test::heard<page_range> heard;
  std::atomic<std::size_t> done{0};
  fault_handler_options options;
  options.threads = 2;
  test::serving served(test::memory_kind::anonymous, pages + 1,
                       overloaded{test::fill_by_offset(),
                                  [&](const remove_event& seen) {
                                    began.set();
                                    EXPECT_TRUE(let_go.comes());
                                    heard.add(seen.range);
                                  }},
                       register_mode::missing, options);
  test::background remover([&] {
    for (; done < removals; ++done) test::drop(served.memory().page(done % pages));
  });
  ASSERT_TRUE(began.comes());
  std::size_t before = 0;
  EXPECT_TRUE(test::eventually([&] {
    const bool stands = done > 1000 && done == before && remover.blocks();
    before = done;
    return stands;
  })) << "events are read without end";
  EXPECT_TRUE(remover.waits_for_reader());
  EXPECT_LT(done, removals) << "more were read than this test expects to find room";
  test::toucher reader(served.at(pages));
  EXPECT_TRUE(reader.waits()) << "a fault overtook events";
  let_go.set();
  EXPECT_EQ(reader.saw(), test::shows(test::byte_of(pages)));
  ASSERT_TRUE(remover.finishes());
  EXPECT_TRUE(test::eventually([&] { return heard.all().size() == removals; }));
  const auto all = heard.all();
  for (std::size_t i = 0; i < all.size(); ++i)
    ASSERT_EQ(all[i], served.memory().page(i % pages)) << "removal " << i;
}

// The first callback holds up the only thread: all others are read at once, or by the standby.
// The first fault is read alone; the others wait meanwhile and are one batch. Its first callback
// asks for the stop.
TEST(fault_handler, looks_for_a_stop_between_faults_that_were_read) {
  constexpr std::size_t pages = 8;
  test::signal started;
  test::signal go_on;
  std::atomic<int> begun{0};
  fault_handler* handler = nullptr;
  test::serving served(pages, [&](fault& raised) {
    const int number = ++begun;
    if (number == 1) {
      started.set();
      EXPECT_TRUE(go_on.comes());
    }
    if (number == 2) handler->request_stop();
    return test::fill(raised, 7);
  });
  handler = &served.handler();
  std::deque<test::toucher> readers;
  readers.emplace_back(served.at(0));
  ASSERT_TRUE(started.comes());
  for (std::size_t page = 1; page < pages; ++page) readers.emplace_back(served.at(page));
  for (test::toucher& reader : readers) EXPECT_TRUE(reader.waits());
  go_on.set();
  for (test::toucher& reader : readers) EXPECT_TRUE(reader.finishes());
  EXPECT_EQ(begun, 2);
}

}  // namespace
}  // namespace uffd
