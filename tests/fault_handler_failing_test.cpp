// SPDX-License-Identifier: MIT
// Callbacks that can't serve, throw or say what isn't so: closed, never a hang, never zeroes.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <csignal>
#include <deque>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/closed_page.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

constexpr auto missing_and_wp = register_mode::missing | register_mode::write_protect;

TEST(failing_callback, that_throws_gives_SIGBUS_and_join_rethrows_it) {
  test::serving served(1, [](fault&) -> resolution { throw std::out_of_range("no such page"); });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::closed_page());
  served.handler().request_stop();
  try {
    served.handler().join();
    FAIL() << "join() threw nothing";
  } catch (const std::out_of_range& error) {
    EXPECT_STREQ(error.what(), "no such page");
  }
  served.handler().join();
}

TEST(failing_callback, that_throws_what_is_no_exception_gives_SIGBUS_too) {
  test::serving served(1, [](fault&) -> resolution { throw 42; });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::closed_page());
  served.handler().request_stop();
  EXPECT_THROW(served.handler().join(), int);
}

TEST(failing_callback, that_answers_an_error_gives_SIGBUS_and_join_names_the_page) {
  test::serving served(2, [](fault&) -> resolution { return std::errc::no_such_device; });
  EXPECT_EQ(test::toucher(served.at(1) + 5).saw(), test::closed_page());
  served.handler().request_stop();
  try {
    served.handler().join();
    FAIL() << "join() threw nothing";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_such_device);
    const auto page = to_string(served.memory().page(1));
    EXPECT_NE(std::string(error.what()).find(page), std::string::npos) << error.what();
  }
}

TEST(failing_callback, does_not_end_the_handler) {
  test::serving served(3, [](fault& raised) -> resolution {
    if (raised.offset() == 0) throw std::runtime_error("first");
    if (raised.offset() == page_size()) return std::errc::io_error;
    return test::fill(raised, 3);
  });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::closed_page());
  EXPECT_EQ(test::toucher(served.at(1)).saw(), test::closed_page());
  EXPECT_EQ(test::toucher(served.at(2)).saw(), test::shows(3));
  served.handler().request_stop();
  EXPECT_THROW(served.handler().join(), std::runtime_error) << "not the first error";
}

class failing : public testing::TestWithParam<test::memory_kind> {};
UFFDPP_ON_EVERY_KIND(failing);

TEST_P(failing, on_a_missing_page_gives_SIGBUS) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2));
  test::serving served(GetParam(), 2, [](fault&) -> resolution { return std::errc::io_error; });
  test::toucher reader(served.at(0));
  test::toucher writer(served.at(0) + 100, 1);
  EXPECT_EQ(reader.saw(), test::closed_page());
  EXPECT_EQ(writer.saw(), test::closed_page());
  EXPECT_EQ(test::error_after_stop(served.handler()), std::errc::io_error);
}

TEST_P(failing, on_a_protected_page_lets_the_write_through) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2, missing_and_wp));
  test::serving served(
      GetParam(), 2,
      [](fault& raised) -> resolution {
        if (raised.kind() == fault_kind::write_protect) throw std::runtime_error("disk full");
        return test::fill(raised, 7);
      },
      missing_and_wp);
  ASSERT_EQ(test::look(served.at(0)), test::shows(7));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().page(0)));
  EXPECT_EQ(test::toucher(served.at(0), 9).saw(), test::shows(9));
  EXPECT_EQ(test::look(served.at(0)), test::shows(9));
  EXPECT_EQ(test::look(served.at(0) + 1), test::shows(7));
  served.handler().request_stop();
  EXPECT_THROW(served.handler().join(), std::runtime_error);
}

TEST_P(failing, on_a_minor_page_gives_SIGBUS) {
  if (!test::is_shared(GetParam())) GTEST_SKIP() << "minor faults are for shared memory";
  const auto modes = register_mode::missing | register_mode::minor;
  UFFDPP_REQUIRE(test::available(GetParam(), 2, modes));
  test::serving served(
      GetParam(), 2,
      [](fault& raised) -> resolution {
        EXPECT_EQ(raised.kind(), fault_kind::minor);
        return std::errc::io_error;
      },
      modes);
  const auto alias = served.memory().mapping().alias();
  test::write_byte(alias.range().begin(), 7);
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::closed_page());
}

// Which of the two codes a poisoned page has depends on how the kernel was built.
TEST_P(failing, gives_a_SIGBUS_that_says_bad_address_or_broken_memory) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2));
  test::serving served(GetParam(), 2, [](fault&) -> resolution { return std::errc::io_error; });
  if (!served.region().info().ioctls.has(range_ioctl::poison))
    GTEST_SKIP() << "this kernel can't poison";
  static volatile std::sig_atomic_t code;
  static struct sigaction former;
  struct sigaction noting {};
  noting.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  noting.sa_sigaction = [](int number, siginfo_t* info, void* context) {
    code = info->si_code;
    former.sa_sigaction(number, info, context);
  };
  ASSERT_EQ(::sigaction(SIGBUS, &noting, &former), 0);
  for (const auto* const when : {"while it waits", "later"}) {
    code = 0;
    EXPECT_EQ(test::look(served.at(0)), test::takes_sigbus);
    EXPECT_TRUE(code == BUS_ADRERR || code == BUS_MCEERR_AR) << code << ' ' << when;
  }
  ::sigaction(SIGBUS, &former, nullptr);
}

TEST(failing_callback, that_claims_to_have_resolved_is_asked_again) {
  std::atomic<int> calls{0};
  test::serving served(1, [&](fault& raised) {
    return ++calls < 5 ? resolution::resolved() : test::fill(raised, 7);
  });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(7));
  EXPECT_GE(calls, 5);
}

TEST(failing_callback, that_claims_it_is_gone_is_asked_again) {
  std::atomic<int> calls{0};
  test::serving served(
      1, [&](fault& raised) { return ++calls < 5 ? resolution::gone() : test::fill(raised, 7); });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(7));
}

TEST(failing_callback, that_resolved_another_page_is_asked_again) {
  std::atomic<int> calls{0};
  test::serving served(2, [&](fault& raised) {
    if (++calls > 1) return test::fill(raised, 7);
    return raised.zeropage(page_range(raised.page().end(), page_size()));
  });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(7));
}

// The kernel refuses the source, the callback doesn't look.
TEST(failing_callback, that_hides_a_failed_copy_is_asked_again) {
  const auto unreadable = mapping::anonymous(page_size());
  ASSERT_EQ(::mprotect(unreadable.bytes().data(), page_size(), PROT_NONE), 0);
  std::atomic<int> calls{0};
  test::serving served(1, [&](fault& raised) {
    if (++calls > 1) return test::fill(raised, 7);
    EXPECT_EQ(raised.copy(unreadable.bytes()).kind(), resolution::state::failed);
    return resolution::resolved();
  });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(7));
}

TEST(failing_callback, that_copies_without_waking_wakes_by_its_answer) {
  test::serving served(
      1, [](fault& raised) { return raised.copy(raised.buffer(), fill_mode::dont_wake); });
  EXPECT_TRUE(test::toucher(served.at(0)).saw());
}

TEST(failing_callback, that_claims_to_have_deferred_gives_SIGBUS) {
  test::serving served(1, [](fault&) { return resolution::deferred(); });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::closed_page());
  EXPECT_EQ(test::error_after_stop(served.handler()), std::errc::protocol_error);
}

TEST(retried_fault, comes_again_until_it_is_resolved) {
  std::atomic<int> calls{0};
  test::serving served(
      1, [&](fault& raised) { return ++calls < 20 ? resolution::retry() : test::fill(raised, 7); });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(7));
  EXPECT_EQ(calls, 20);
}

TEST(retried_fault, comes_again_when_many_are_parked) {
  constexpr std::size_t count = 48;
  std::atomic<bool> ready{false};
  std::atomic<int> calls{0};
  test::serving served(count, [&](fault& raised) {
    ++calls;
    return ready ? test::fill_by_offset()(raised) : resolution::retry();
  });
  std::deque<test::toucher> readers;
  for (std::size_t page = 0; page < count; ++page) readers.emplace_back(served.at(page));
  EXPECT_TRUE(test::eventually([&] { return calls >= 4 * static_cast<int>(count); }));
  ready = true;
  for (std::size_t page = 0; page < count; ++page)
    EXPECT_EQ(readers[page].saw(), test::shows(test::byte_of(page)));
}

// A mark on a page that is missing: ZEROPAGE answers EEXIST there, and would for ever.
TEST(marker_on_a_missing_page, does_not_keep_zeropage_from_serving_it) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated | feature::pagefault_flag_wp));
  fault_handler_options options = test::one_thread();
  options.open.required = feature::wp_unpopulated | feature::pagefault_flag_wp;
  std::atomic<int> protected_writes{0};
  test::serving served(
      test::memory_kind::anonymous, 2,
      [&](fault& raised) {
        if (raised.kind() != fault_kind::write_protect) return raised.zeropage();
        ++protected_writes;
        return raised.unprotect();
      },
      missing_and_wp, options);
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(0));
  EXPECT_EQ(test::toucher(served.at(0), 5).saw(), test::shows(5));
  EXPECT_EQ(protected_writes, 1) << "the mark was lost";
  EXPECT_EQ(test::toucher(served.at(1), 6).saw(), test::shows(6));
}

TEST(marker_on_a_missing_page, does_not_keep_it_from_failing_closed) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated | feature::pagefault_flag_wp));
  fault_handler_options options = test::one_thread();
  options.open.required = feature::wp_unpopulated | feature::pagefault_flag_wp;
  test::serving served(
      test::memory_kind::anonymous, 1, [](fault&) -> resolution { return std::errc::io_error; },
      missing_and_wp, options);
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::closed_page());
}

TEST(munmap_under_a_waiter, gives_SIGSEGV_once_the_callback_answers) {
  test::signal started;
  test::signal unmapped;
  std::optional<test::memory> memory(std::in_place, test::memory_kind::anonymous, 2);
  const auto range = memory->range();
  const test::fence fenced(range);
  fault_handler handler(
      [&](fault& raised) {
        started.set();
        EXPECT_TRUE(unmapped.comes());
        return test::fill(raised, 7);
      },
      test::one_thread());
  const auto region = handler.serve(range);
  test::toucher reader(range.begin());
  ASSERT_TRUE(started.comes());
  memory.reset();
  unmapped.set();
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
  EXPECT_FALSE(test::error_after_stop(handler)) << "nobody failed";
}

}  // namespace
}  // namespace uffd
