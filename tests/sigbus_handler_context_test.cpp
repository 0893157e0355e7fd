// SPDX-License-Identifier: MIT
// What surrounds a fault that is served in its thread: errno, stacks, system calls, other faults.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <system_error>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/requires.hpp"
#include "support/sanitizers.hpp"
#include "support/serving.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "support/swap.hpp"
#include "support/toucher.hpp"
#include "uffd/mapping.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

TEST(fault_in_thread, keeps_errno) {
  test::serving_in_thread served(2, [](fault& raised) noexcept {
    errno = ENOTTY;
    return raised.zeropage();
  });
  errno = ELOOP;
  EXPECT_EQ(test::read_byte(served.at(1)), std::byte{0});
  EXPECT_EQ(errno, ELOOP);
}

TEST(fault_in_thread, that_a_system_call_would_raise_makes_it_fail) {
  test::serving_in_thread served(2, test::fill_by_offset());
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ASSERT_EQ(::write(ends[1], "a", 1), 1);
  auto* const page = served.memory().bytes().data() + page_size();
  EXPECT_EQ(::read(ends[0], page, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(::write(ends[1], page, 1), -1);
  EXPECT_EQ(errno, EFAULT);
  touch(std::span(page, 1));
  EXPECT_EQ(::write(ends[1], page, 1), 1);
  for (const int end : ends) ::close(end);
}

TEST(fault_in_thread, runs_on_the_alternate_stack_where_there_is_one) {
  std::uintptr_t frame = 0;
  test::serving_in_thread served(2, [&](fault& raised) noexcept {
    frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    return raised.zeropage();
  });
  std::vector<std::byte> memory(std::size_t{1} << 18);
  test::background thread([&] {
    stack_t before;
    const stack_t alternate{memory.data(), 0, memory.size()};
    ASSERT_EQ(::sigaltstack(&alternate, &before), 0);
    test::read_byte(served.at(1));
    ASSERT_EQ(::sigaltstack(&before, nullptr), 0);
  });
  ASSERT_TRUE(thread.finishes());
  EXPECT_TRUE(page_range(std::span(memory)).contains(frame));
}

TEST(fault_in_thread, may_raise_another_in_memory_of_another_handler) {
  UFFDPP_REQUIRE(test::faults_in_callbacks());
  int depth = 0;
  int deepest = 0;
  const std::byte* first_buffer = nullptr;
  bool buffers_differ = false;
  test::serving_in_thread inner(4, [&](fault& raised) noexcept {
    deepest = ++depth;
    buffers_differ = raised.buffer().data() != first_buffer;
    --depth;
    return test::fill(raised, 20 + static_cast<int>(raised.offset() / page_size()));
  });
  test::serving_in_thread outer(4, [&](fault& raised) noexcept {
    ++depth;
    const auto buffer = raised.buffer();
    first_buffer = buffer.data();
    std::fill(buffer.begin(), buffer.end(), std::byte{1});
    buffer[0] = test::read_byte(inner.at(raised.offset() / page_size()));
    --depth;
    return raised.copy(buffer);
  });
  for (std::size_t page = 0; page < 4; ++page) {
    EXPECT_EQ(test::look(outer.at(page)), test::shows(20 + static_cast<int>(page)));
    EXPECT_EQ(test::look(outer.at(page) + 1), test::shows(1));
  }
  EXPECT_EQ(deepest, 2);
  EXPECT_TRUE(buffers_differ);
}

TEST(fault_in_thread, has_a_buffer_of_its_own_even_when_all_are_taken) {
  constexpr std::size_t threads = 4;
  std::array<const std::byte*, threads> buffers{};
  std::atomic<std::size_t> inside{0};
  test::serving_in_thread served(
      test::memory_kind::anonymous, threads,
      [&](fault& raised) noexcept {
        const auto page = raised.offset() / page_size();
        buffers[page] = raised.buffer().data();
        const auto answer_when_all_are_here = [&] { return inside == threads; };
        ++inside;
        test::spin_until(answer_when_all_are_here);
        return test::fill_by_offset()(raised);
      },
      register_mode::missing, {.buffer_size = page_size(), .buffers = 1});
  {
    std::array<std::optional<test::toucher>, threads> touchers;
    for (std::size_t i = 0; i < threads; ++i) touchers[i].emplace(served.at(i));
    for (std::size_t i = 0; i < threads; ++i)
      EXPECT_EQ(touchers[i]->saw(), test::shows(test::byte_of(i)));
  }
  std::sort(buffers.begin(), buffers.end());
  EXPECT_EQ(std::adjacent_find(buffers.begin(), buffers.end()), buffers.end());
}

TEST(fault_in_thread, that_finds_no_buffer_and_no_memory_for_one_is_a_sigbus) {
  if (test::address_sanitizer || test::thread_sanitizer)
    GTEST_SKIP() << "a sanitizer has no limit on its addresses";
  EXPECT_EQ(test::in_child([] {
              std::uintptr_t other = 0;
              test::serving_in_thread served(test::memory_kind::anonymous, 2,
                                             [&](fault& raised) noexcept {
                                               if (raised.offset() == 0) test::read_byte(other);
                                               return raised.zeropage();
                                             },
                                             register_mode::missing,
                                             {.buffer_size = std::size_t{64} << 20, .buffers = 1});
              other = served.at(1);
              const rlimit none{1, 1};
              if (::setrlimit(RLIMIT_AS, &none) != 0) ::_exit(2);
              test::read_byte(served.at(0));
            }),
            test::dies_of(SIGBUS));
}

TEST(fault_in_thread, and_one_served_by_threads_may_need_each_other) {
  test::serving_in_thread in_thread(2, test::fill_by_offset());
  test::serving threaded(2, [&](fault& raised) {
    return test::fill(raised, 100 + std::to_integer<int>(test::read_byte(in_thread.at(1))));
  });
  EXPECT_EQ(test::look(threaded.at(0)), test::shows(102));
  test::serving_in_thread of_both(1, [&](fault& raised) noexcept {
    return test::fill(raised, std::to_integer<int>(test::read_byte(threaded.at(1))));
  });
  EXPECT_EQ(test::look(of_both.at(0)), test::shows(102));
}

TEST(fault_in_thread, of_a_thread_that_blocks_the_signal_ends_the_process) {
  EXPECT_EQ(test::in_child([] {
              test::serving_in_thread served(1, test::fill_by_offset());
              sigset_t bus;
              sigemptyset(&bus);
              sigaddset(&bus, SIGBUS);
              ::pthread_sigmask(SIG_BLOCK, &bus, nullptr);
              test::read_byte(served.at(0));
            }),
            test::dies_of(SIGBUS));
}

// The processor meets no page, and the kernel a protected one.
TEST(fault_in_thread, of_a_write_to_a_protected_page_that_was_swapped_out_lets_it_through) {
  UFFDPP_REQUIRE(test::swap_space());
  for (const auto modes : {flags(register_mode::write_protect),
                           register_mode::missing | register_mode::write_protect}) {
    UFFDPP_REQUIRE(test::available(test::memory_kind::anonymous, 4, modes));
    bool is_filled = false;
    test::serving_in_thread served(
        test::memory_kind::anonymous, 4,
        [&](fault& raised) noexcept -> resolution {
          if (raised.kind() == fault_kind::write_protect) return raised.unprotect();
          if (is_filled) return std::errc::io_error;
          return test::fill(raised, 1);
        },
        modes);
    for (std::size_t page = 0; page < 4; ++page) test::write_byte(served.at(page), 2);
    is_filled = true;
    ASSERT_TRUE(served.handler().on().write_protect(served.memory().range()));
    ASSERT_EQ(::madvise(served.memory().bytes().data(), served.memory().size(), MADV_PAGEOUT), 0);
    UFFDPP_REQUIRE(test::bytes_with(served.memory().page(1), uapi::pagemap::swapped) != 0
                       ? ""
                       : "the page was not swapped out");
    EXPECT_EQ(test::try_write(served.at(1), 7), test::shows(7));
    EXPECT_FALSE(test::kept_error(served.handler()));
  }
}

// A sanitizer's report, where there is one, and the signal elsewhere.
TEST(fault_in_thread, leaves_the_process_the_death_that_it_would_have_had) {
  const auto ending = [](bool serves) {
    return test::in_child([=] {
      ::sigaction(SIGBUS, &test::detail::former_bus, nullptr);
      std::optional<test::serving_in_thread> served;
      if (serves) served.emplace(1, test::fill_by_offset());
      const auto cut = mapping::shared(page_size());
      if (::ftruncate(cut.file(), 0) == 0) test::read_byte(cut.range().begin());
      return 0;
    });
  };
  const auto without = ending(false);
  EXPECT_NE(without, test::exits_with(0));
  EXPECT_EQ(ending(true), without);
}

}  // namespace
}  // namespace uffd
