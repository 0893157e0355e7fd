// SPDX-License-Identifier: MIT
// A fault that no huge page is left for is a SIGBUS, as without userfaultfd.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <string>
#include <system_error>

#include "support/few_huge_pages.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "uffd/uffd.hpp"

namespace {

namespace test = uffd::test;

constexpr std::size_t pages = 2;

uffd::serve_options served_in(uffd::flags<uffd::register_mode> modes) {
  uffd::serve_options options;
  options.modes = modes;
  options.page_size = test::huge_page_size;
  return options;
}

class no_huge_page_left : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::few_huge_pages_can_be_made());
    UFFDPP_REQUIRE(test::kernel_has(uffd::feature::poison));
  }
};
INSTANTIATE_TEST_SUITE_P(mappings, no_huge_page_left, testing::Values(MAP_PRIVATE, MAP_SHARED),
                         [](const auto& made) {
                           return std::string(made.param == MAP_SHARED ? "shared" : "private");
                         });

TEST_P(no_huge_page_left, is_sigbus_and_told) {
  const test::few_huge_pages memory(GetParam(), pages);
  uffd::fault_handler handler(test::fill_by_offset{});
  const auto region = handler.serve(memory.range(), served_in(uffd::register_mode::missing));
  EXPECT_EQ(test::look(memory.at(0)), test::shows(test::byte_of(0)));
  EXPECT_EQ(test::look(memory.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::thrown([&] { handler.rethrow_error(); }), ENOMEM);
  EXPECT_EQ(test::look(memory.at(0)), test::shows(test::byte_of(0)));
}

TEST_P(no_huge_page_left, is_sigbus_in_the_thread_that_serves_itself) {
  const test::few_huge_pages memory(GetParam(), pages);
  uffd::sigbus_handler handler(uffd::async_signal_safe, test::fill_by_offset{});
  const auto region = handler.serve(memory.range(), served_in(uffd::register_mode::missing));
  EXPECT_EQ(test::look(memory.at(0)), test::shows(test::byte_of(0)));
  EXPECT_EQ(test::look(memory.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::kept_error(handler), std::errc::not_enough_memory);
}

TEST_P(no_huge_page_left, is_sigbus_in_a_child) {
  UFFDPP_REQUIRE(test::followed_forks());
  const test::few_huge_pages memory(GetParam(), pages);
  struct callbacks : test::fill_by_offset {
    uffd::resolution on_page_fault(uffd::fault& raised) noexcept { return (*this)(raised); }
    void on_fork(const uffd::fork_event&) {}
  } served;
  uffd::fault_handler handler(std::ref(served));
  const auto region = handler.serve(memory.range(), served_in(uffd::register_mode::missing));
  EXPECT_EQ(test::look(memory.at(0)), test::shows(test::byte_of(0)));
  EXPECT_EQ(test::in_child([&] { test::look(memory.at(1)); }), test::dies_of(SIGBUS));
  EXPECT_EQ(test::thrown([&] { handler.rethrow_error(); }), ENOMEM);
}

// A page shared with a child is copied when it is written, if there is room for the copy. The
// signal looks like that of a protected page.
TEST(no_huge_page_left_to_copy, is_sigbus_in_the_thread_that_serves_itself) {
  const auto modes = uffd::register_mode::missing | uffd::register_mode::write_protect;
  UFFDPP_REQUIRE(test::few_huge_pages_can_be_made());
  UFFDPP_REQUIRE(test::available(test::memory_kind::huge, 1, modes));
  const test::few_huge_pages memory(MAP_PRIVATE, 1);
  uffd::sigbus_handler_options options;
  options.open.required |= test::features_of(test::memory_kind::huge, modes);
  uffd::sigbus_handler handler(
      uffd::async_signal_safe,
      [](uffd::fault& raised) noexcept {
        if (raised.kind() == uffd::fault_kind::write_protect) return raised.unprotect();
        return test::fill(raised, 1);
      },
      options);
  const auto region = handler.serve(memory.range(), served_in(modes));
  EXPECT_EQ(test::look(memory.at(0)), test::shows(1));
  test::forked child([] { ::pause(); });
  UFFDPP_REQUIRE(test::inherited(memory.at(0), child.pid()));
  ASSERT_TRUE(handler.on().write_protect(memory.range()));
  EXPECT_EQ(test::try_write(memory.at(0), 2), test::takes_sigbus);
  child.kill();
  child.wait();
  EXPECT_EQ(test::try_write(memory.at(0), 2), test::shows(2));
}

}  // namespace
