// SPDX-License-Identifier: MIT
// What is no fault of served memory reaches the action for SIGBUS that was there before, as if ours
// weren't. In forked children, for the action is the whole process's.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include "support/forked.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sigbus_actions.hpp"
#include "support/sight.hpp"
#include "uffd/error.hpp"
#include "uffd/mapping.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

using test::dies_of;
using test::exits_with;
using test::hear;
using test::hear_number;
using test::in_child;
using test::last;
using test::set_action;

resolution refuse(fault&) noexcept { return std::errc::io_error; }

sigjmp_buf escape;
void leave(int, siginfo_t* info, void*) {
  last.address = info->si_addr;
  siglongjmp(escape, 1);
}

// A mapping whose file is gone: touching it is a SIGBUS that is none of ours.
class cut_mapping {
 public:
  cut_mapping() {
    if (::ftruncate(memory_.file(), 0) != 0) uffd::detail::throw_errno(errno, "ftruncate");
  }
  std::uintptr_t begin() const { return memory_.range().begin(); }

 private:
  mapping memory_ = mapping::shared(page_size());
};

// Takes the SIGBUS of a touch and goes on.
bool escapes(std::uintptr_t address) {
  if (sigsetjmp(escape, 1) != 0) return true;
  test::read_byte(address);
  return false;
}

TEST(former_sigbus_action, gets_what_is_not_served_with_all_that_belongs_to_it) {
  EXPECT_EQ(in_child([] {
              set_action(leave);
              const cut_mapping cut;
              test::serving_in_thread served(2, test::fill_by_offset());
              if (!escapes(cut.begin() + 5)) return 1;
              if (last.address != reinterpret_cast<const void*>(cut.begin() + 5)) return 2;
              return test::read_byte(served.at(1)) == std::byte{2} ? 0 : 3;
            }),
            exits_with(0));
}

TEST(former_sigbus_action, gets_faults_that_failed) {
  EXPECT_EQ(in_child([] {
              set_action(leave);
              test::serving_in_thread served(2, refuse);
              if (!escapes(served.at(1) + 9)) return 1;
              return last.address == reinterpret_cast<const void*>(served.at(1) + 9) ? 0 : 2;
            }),
            exits_with(0));
}

TEST(former_sigbus_action, by_default_ends_the_process_of_sigbus) {
  EXPECT_EQ(in_child([] {
              const cut_mapping cut;
              test::serving_in_thread served(1, test::fill_by_offset());
              test::read_byte(cut.begin());
            }),
            dies_of(SIGBUS));
  EXPECT_EQ(in_child([] {
              test::serving_in_thread served(1, refuse);
              test::read_byte(served.at(0));
            }),
            dies_of(SIGBUS));
  EXPECT_EQ(in_child([] {
              test::serving_in_thread served(1, refuse);
              ::kill(::getpid(), SIGBUS);
            }),
            dies_of(SIGBUS));
}

TEST(former_sigbus_action, that_ignores_does_not_ignore_what_an_access_raised) {
  EXPECT_EQ(in_child([] {
              set_action(SIG_IGN);
              const cut_mapping cut;
              test::serving_in_thread served(1, test::fill_by_offset());
              if (::raise(SIGBUS) != 0 || ::kill(::getpid(), SIGBUS) != 0) ::_exit(1);
              if (test::read_byte(served.at(0)) != std::byte{1}) ::_exit(2);
              test::read_byte(cut.begin());
            }),
            dies_of(SIGBUS));
}

// Another thread may have filled it meanwhile; the process must not go on without our action.
TEST(former_sigbus_action, by_default_ends_the_process_though_the_page_is_there_by_then) {
  EXPECT_EQ(in_child([] {
              test::serving_in_thread served(2, [](fault& raised) noexcept -> resolution {
                static_cast<void>(raised.zeropage());
                return std::errc::io_error;
              });
              test::read_byte(served.at(1));
              return 0;
            }),
            dies_of(SIGBUS));
}

#if defined(__x86_64__)
// An address that no pointer can have, through the register of the stack's frames.
void access_beyond_all_addresses() {
  asm volatile(
      "push %%rbp\n\tmovabs $0x8000000000000000, %%rbp\n\t"
      "mov 0(%%rbp), %%rax\n\tpop %%rbp" ::
          : "rax", "memory");
}

TEST(former_sigbus_action, that_ignores_does_not_ignore_what_has_no_address) {
  if (in_child([] { access_beyond_all_addresses(); }) != dies_of(SIGBUS))
    GTEST_SKIP() << "this processor raises another signal for it (QEMU)";
  EXPECT_EQ(in_child([] {
              ::signal(SIGBUS, SIG_IGN);
              test::serving_in_thread served(1, test::fill_by_offset());
              access_beyond_all_addresses();
              return 0;
            }),
            dies_of(SIGBUS));
}
#endif

TEST(former_sigbus_action, gets_what_was_sent) {
  EXPECT_EQ(in_child([] {
              set_action(hear);
              test::serving_in_thread served(1, test::fill_by_offset());
              ::kill(::getpid(), SIGBUS);
              if (last.signals != 1 || last.code != SI_USER || !last.has_context) return 1;
              ::sigqueue(::getpid(), SIGBUS, {.sival_int = 42});
              if (last.signals != 2 || last.code != SI_QUEUE || last.value != 42) return 2;
              return test::read_byte(served.at(0)) == std::byte{1} ? 0 : 3;
            }),
            exits_with(0));
}

// Sent with the code of a fault at a served address: nobody can tell, and nothing bad comes of it.
TEST(former_sigbus_action, gets_what_was_sent_as_a_hardware_error_of_served_memory) {
  EXPECT_EQ(in_child([] {
              set_action(hear);
              int faults = 0;
              test::serving_in_thread served(1, [&](fault& raised) noexcept {
                ++faults;
                return raised.zeropage();
              });
              for (const int code : {BUS_MCEERR_AO, BUS_MCEERR_AR}) {
                siginfo_t info{};
                info.si_signo = SIGBUS;
                info.si_code = code;
                info.si_addr = reinterpret_cast<void*>(served.at(0));
                if (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::gettid(), SIGBUS, &info) != 0)
                  return 1;
                if (last.code != code) return 2;
              }
              return faults == 0 ? 0 : 3;
            }),
            exits_with(0));
}

TEST(former_sigbus_action, without_siginfo_is_called_by_number) {
  EXPECT_EQ(in_child([] {
              set_action(hear_number);
              test::serving_in_thread served(1, test::fill_by_offset());
              ::kill(::getpid(), SIGBUS);
              return last.signals == 1 && last.value == SIGBUS ? 0 : 1;
            }),
            exits_with(0));
}

TEST(former_sigbus_action, has_its_own_mask) {
  EXPECT_EQ(in_child([] {
              set_action(hear);
              test::serving_in_thread served(1, test::fill_by_offset());
              ::raise(SIGBUS);
              if (last.signals != 1 || !last.blocks_sigbus || !last.blocks_usr1) return 1;
              test::note_mask();
              return last.blocks_sigbus || last.blocks_usr1 ? 2 : 0;
            }),
            exits_with(0));
  EXPECT_EQ(in_child([] {
              set_action(hear_number, SA_NODEFER);
              ::raise(SIGBUS);
              const test::heard without = last;
              test::serving_in_thread served(1, test::fill_by_offset());
              ::raise(SIGBUS);
              return last.signals == 2 && last.blocks_sigbus == without.blocks_sigbus &&
                             last.blocks_usr1 == without.blocks_usr1
                         ? 0
                         : 1;
            }),
            exits_with(0));
}

TEST(former_sigbus_action, for_one_signal_gets_one) {
  EXPECT_EQ(in_child([] {
              set_action(hear_number, static_cast<int>(SA_RESETHAND));
              test::serving_in_thread served(1, test::fill_by_offset());
              ::raise(SIGBUS);
              if (last.signals != 1) ::_exit(1);
              ::raise(SIGBUS);
            }),
            dies_of(SIGBUS));
  EXPECT_EQ(in_child([] {
              set_action(hear_number, static_cast<int>(SA_RESETHAND));
              {
                test::serving_in_thread served(1, test::fill_by_offset());
                ::raise(SIGBUS);
              }
              ::raise(SIGBUS);
            }),
            dies_of(SIGBUS));
}

}  // namespace
}  // namespace uffd
