// SPDX-License-Identifier: MIT
// Deferred faults that are answered otherwise than by a copy.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <system_error>

#include "support/event_causes.hpp"
#include "support/memory.hpp"
#include "support/parking.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

TEST(deferred_fault, of_a_protected_page_is_unprotected_later_or_lets_the_write_through) {
  UFFDPP_REQUIRE(test::kernel_has(feature::pagefault_flag_wp));
  test::parking parked;
  test::serving served(
      test::memory_kind::anonymous, 2,
      [&](fault& raised) {
        if (raised.kind() == fault_kind::write_protect) return parked.put(raised.defer());
        return test::fill(raised, 7);
      },
      register_mode::missing | register_mode::write_protect);
  EXPECT_EQ(test::look(served.at(0)), test::shows(7));
  EXPECT_EQ(test::look(served.at(1)), test::shows(7));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  test::toucher first(served.at(0), 8);
  EXPECT_TRUE(parked.take().unprotect().is_resolved());
  EXPECT_EQ(first.saw(), test::shows(8));
  test::toucher second(served.at(1), 9);
  { const auto dropped = parked.take(); }
  EXPECT_EQ(second.saw(), test::shows(9));
  EXPECT_EQ(test::error_after_stop(served.handler()), std::errc::operation_canceled);
}

TEST(deferred_fault, of_a_minor_page_is_continued_later) {
  const auto modes = register_mode::missing | register_mode::minor;
  UFFDPP_REQUIRE(test::available(test::memory_kind::shared, 1, modes));
  test::parking parked;
  test::serving served(
      test::memory_kind::shared, 1, [&](fault& raised) { return parked.put(raised.defer()); },
      modes);
  const auto alias = served.memory().mapping().alias();
  test::write_byte(alias.range().begin(), 7);
  test::toucher reader(served.at(0));
  EXPECT_TRUE(parked.take().continue_().is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(7));
}

TEST(deferred_fault, may_be_resolved_by_a_move) {
  UFFDPP_REQUIRE(test::kernel_has(feature::move));
  test::parking parked;
  test::serving served(1, [&](fault& raised) { return parked.put(raised.defer()); });
  const auto source = mapping::anonymous(page_size());
  std::memset(source.bytes().data(), 6, page_size());
  test::toucher reader(served.at(0));
  EXPECT_TRUE(parked.take().move(source.range()).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(6));
}

TEST(deferred_fault, of_a_protected_page_that_was_dropped_is_told_again_as_missing) {
  UFFDPP_REQUIRE(test::kernel_has(feature::pagefault_flag_wp));
  test::parking parked;
  test::serving served(
      test::memory_kind::anonymous, 1,
      [&](fault& raised) {
        if (raised.kind() == fault_kind::write_protect) return parked.put(raised.defer());
        return test::fill(raised, 7);
      },
      register_mode::missing | register_mode::write_protect);
  EXPECT_EQ(test::look(served.at(0)), test::shows(7));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  test::toucher writer(served.at(0), 9);
  auto waiting = parked.take();
  test::drop(served.memory().range());
  EXPECT_TRUE(waiting.unprotect().is_resolved());
  EXPECT_EQ(writer.saw(), test::shows(9));
  EXPECT_EQ(test::look(served.at(0) + 1), test::shows(7)) << "not zeroes";
}

// A signal makes the thread fault anew: two faults for one access.
TEST(deferred_fault, of_a_thread_that_was_interrupted_comes_twice_and_both_are_resolved) {
  struct sigaction action {};
  struct sigaction former {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &former), 0);
  test::parking parked;
  test::serving served(1, [&](fault& raised) { return parked.put(raised.defer()); });
  test::toucher reader(served.at(0));
  auto first = parked.take();
  EXPECT_TRUE(reader.waits());
  ASSERT_EQ(::tgkill(::getpid(), reader.thread_id(), SIGUSR1), 0);
  auto second = parked.take();
  EXPECT_TRUE(second.copy(test::filled(page_size(), 7)).is_resolved());
  EXPECT_EQ(reader.saw(), test::shows(7));
  EXPECT_TRUE(first.copy(test::filled(page_size(), 8)).is_resolved());
  EXPECT_EQ(test::look(served.at(0)), test::shows(7));
  EXPECT_FALSE(test::error_after_stop(served.handler()));
  EXPECT_EQ(::sigaction(SIGUSR1, &former, nullptr), 0);
}

}  // namespace
}  // namespace uffd
