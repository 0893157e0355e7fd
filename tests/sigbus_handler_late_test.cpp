// SPDX-License-Identifier: MIT
// Signals that are taken only after the end of the range that raised them: whoever made the memory
// accessible meanwhile could not wake those threads. In forked children, which would die of them.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#include "support/background.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sanitizers.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

struct sigaction ours {};
std::atomic<bool> is_held{false};
std::atomic<bool> may_go{false};

// An action over ours, which takes its time.
void hold(int number, siginfo_t* info, void* context) {
  is_held = true;
  test::spin_until([] { return may_go.load(); });
  ours.sa_sigaction(number, info, context);
}

// What a thread reads whose signal is held back until its range has ended, leaving zeroes, and
// `then(handler, memory)` was done. It may answer a range, which is served meanwhile.
template <class Then>
test::ending read_late(Then then) {
  return test::in_child([&] {
    sigbus_handler handler(async_signal_safe, test::fill_by_offset());
    const test::memory memory(test::memory_kind::anonymous, 4);
    auto region = handler.serve(memory.range(), {.on_end = close_policy::leave_zero});
    struct sigaction over {};
    over.sa_sigaction = hold;
    over.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigaction(SIGBUS, &over, &ours);
    std::atomic<int> seen{-1};
    test::background reader([&] { seen = std::to_integer<int>(test::read_byte(memory.at(2))); });
    test::spin_until([] { return is_held.load(); });
    region = {};
    const served_region next = then(handler, memory);
    may_go = true;
    return reader.finishes() ? seen.load() : 98;
  });
}

class signal_that_comes_late : public testing::Test {
 protected:
  void SetUp() override {
    if (test::thread_sanitizer)
      GTEST_SKIP() << "ThreadSanitizer lets forked children start no thread";
  }
};

TEST_F(signal_that_comes_late, finds_what_its_range_has_left) {
  EXPECT_EQ(read_late([](auto&, auto&) { return served_region(); }), test::exits_with(0));
}

TEST_F(signal_that_comes_late, finds_it_though_a_page_beside_it_is_served_again) {
  EXPECT_EQ(read_late([](sigbus_handler& handler, const test::memory& memory) {
              return handler.serve(memory.page(0), {.on_end = close_policy::leave_zero});
            }),
            test::exits_with(0));
}

TEST_F(signal_that_comes_late, finds_it_though_another_range_was_refused_there) {
  EXPECT_EQ(read_late([](sigbus_handler& handler, const test::memory& memory) {
              EXPECT_EQ(test::thrown([&] {
                          auto refused =
                              handler.serve(memory.range(), {.modes = register_mode::minor});
                        }),
                        EINVAL);
              return served_region();
            }),
            test::exits_with(0));
}

TEST_F(signal_that_comes_late, finds_it_though_only_writes_are_served_there_since) {
  const auto modes = register_mode::write_protect;
  UFFDPP_REQUIRE(test::available(test::memory_kind::anonymous, 1, modes));
  EXPECT_EQ(read_late([&](sigbus_handler& handler, const test::memory& memory) {
              return handler.serve(memory.range(),
                                   {.modes = modes, .on_end = close_policy::leave_zero});
            }),
            test::exits_with(0));
}

TEST_F(signal_that_comes_late, is_served_by_whoever_serves_the_page_since) {
  EXPECT_EQ(read_late([](sigbus_handler& handler, const test::memory& memory) {
              return handler.serve(memory.range(), {.on_end = close_policy::leave_zero});
            }),
            test::exits_with(test::byte_of(2)));
}

// As the kernel would send it then.
TEST_F(signal_that_comes_late, finds_it_after_the_last_handler) {
  EXPECT_EQ(test::in_child([&] {
              const test::memory memory(test::memory_kind::anonymous, 1);
              {
                sigbus_handler handler(async_signal_safe, test::fill_by_offset());
                auto region = handler.serve(memory.range(), {.on_end = close_policy::leave_zero});
              }
              siginfo_t late{};
              late.si_signo = SIGBUS;
              late.si_code = BUS_ADRERR;
              late.si_addr = reinterpret_cast<void*>(memory.at(0));
              ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::gettid(), SIGBUS, &late);
              return std::to_integer<int>(test::read_byte(memory.at(0)));
            }),
            test::exits_with(0));
}

}  // namespace
}  // namespace uffd
