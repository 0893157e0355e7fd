// SPDX-License-Identifier: MIT
// What userfaultfd and the kernel's other features for memory do to each other: read-only pages,
// guard pages, merged pages, holes punched into files, locks and pins.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/event_causes.hpp"
#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/page_flags.hpp"
#include "support/pages_to_move.hpp"
#include "support/pin.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;

class read_only_memory : public test::on_every_kind {};
UFFDPP_ON_EVERY_KIND(read_only_memory);

// The kernel may mark what it installs as written to, but not make it writable.
TEST_P(read_only_memory, stays_so_when_its_pages_are_copied) {
  serve();
  ASSERT_EQ(::mprotect(memory().bytes().data(), memory().size(), PROT_READ), 0);
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7)));
  EXPECT_EQ(test::try_write(memory().begin(), 9), test::takes_sigsegv);
  EXPECT_EQ(look(memory().begin()), shows(7));
}

TEST_P(read_only_memory, stays_so_when_write_protection_is_taken_off) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  std::memset(memory().bytes().data(), 7, memory().size());
  serve(register_mode::write_protect);
  ASSERT_TRUE(on().write_protect(memory().range()));
  ASSERT_EQ(::mprotect(memory().bytes().data(), memory().size(), PROT_READ), 0);
  ASSERT_TRUE(on().write_unprotect(memory().range()));
  EXPECT_EQ(test::try_write(memory().begin(), 9), test::takes_sigsegv);
  EXPECT_EQ(look(memory().begin()), shows(7));
}

// Guard pages, Linux 6.13 (of files 6.15).
class guarded_memory : public test::on_every_kind {
 protected:
  static constexpr int guard_install = 102;
  static constexpr int guard_remove = 103;

  void SetUp() override {
    on_every_kind::SetUp();
    if (IsSkipped()) return;
    void* const first = memory().bytes().data();
    UFFDPP_REQUIRE(::madvise(first, page_size(), guard_install) == 0
                       ? ""
                       : "this kernel has no guard pages for such memory");
    ASSERT_EQ(::madvise(first, page_size(), guard_remove), 0);
  }
  void guard(std::size_t page, std::size_t count = 1) const {
    ASSERT_EQ(
        ::madvise(memory().bytes().data() + page * page_size(), count * page_size(), guard_install),
        0);
  }
};
UFFDPP_ON_KINDS(guarded_memory, test::small_kinds);

TEST_P(guarded_memory, takes_sigsegv_and_sends_no_message) {
  serve();
  guard(0, pages);
  for (std::size_t i = 0; i < pages; ++i) {
    EXPECT_EQ(look(memory().at(i)), test::takes_sigsegv);
    EXPECT_EQ(test::try_write(memory().at(i), 9), test::takes_sigsegv);
  }
  EXPECT_FALSE(test::readable(on().fd(), test::moment));
}

TEST_P(guarded_memory, stays_guarded_when_its_region_ends_and_the_rest_becomes_inaccessible) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  std::optional<region> registered(std::in_place, on(), memory().range());
  ASSERT_TRUE(on().copy(memory().at(0), bytes(7)));
  guard(1);
  registered.reset();
  EXPECT_EQ(look(memory().at(0)), shows(7));
  EXPECT_EQ(look(memory().at(1)), test::takes_sigsegv);
  EXPECT_EQ(look(memory().at(2)), test::takes_sigbus);
}

class punched_file : public test::on_every_kind {
 protected:
  void SetUp() override {
    on_every_kind::SetUp();
    if (IsSkipped()) return;
    UFFDPP_REQUIRE(can(register_mode::minor));
    std::memset(memory().bytes().data(), 7, memory().size());
  }
  void punch() const {
    ASSERT_EQ(::fallocate(memory().mapping().file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                          static_cast<off_t>(page_size())),
              0);
  }
};
UFFDPP_ON_KINDS(punched_file, test::shared_kinds);

// The reason to register shared memory for both.
TEST_P(punched_file, shows_zeroes_without_a_message_where_only_minor_faults_are_registered) {
  serve(register_mode::minor);
  punch();
  EXPECT_EQ(look(memory().at(0)), shows(0));
  EXPECT_FALSE(test::readable(on().fd(), test::moment));
}

TEST_P(punched_file, sends_a_message_where_missing_faults_are_registered_too) {
  serve(register_mode::missing | register_mode::minor);
  punch();
  test::toucher reader(memory().at(0));
  const auto fault = test::next_fault(on());
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind(), fault_kind::missing);
  ASSERT_TRUE(on().copy(memory().at(0), bytes(8)));
  EXPECT_EQ(reader.saw(), shows(8));
}

// A waiting writer's page is dropped: unprotecting wakes it, and it comes back for what is missing.
class dropped_memory : public test::on_every_kind {};
UFFDPP_ON_EVERY_KIND(dropped_memory);

TEST_P(dropped_memory, makes_a_writer_that_waited_for_permission_wait_for_the_page) {
  const auto both = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(can(both));
  serve(both);
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::write_protect));
  test::toucher writer(memory().begin(), 9);
  const auto first = test::next_fault(on());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->kind(), fault_kind::write_protect);
  test::drop(memory().page(0));
  if (test::is_shared(GetParam())) {
    // The bytes are in the file still.
    ASSERT_EQ(::fallocate(memory().mapping().file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                          static_cast<off_t>(page_size())),
              0);
  }
  EXPECT_TRUE(writer.waits()) << "nobody woke it";
  ASSERT_TRUE(on().write_unprotect(memory().page(0)));
  const auto second = test::next_fault(on());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->kind(), fault_kind::missing);
  ASSERT_TRUE(on().copy(memory().begin(), bytes(8)));
  EXPECT_EQ(writer.saw(), shows(9));
  EXPECT_EQ(look(memory().begin() + 1), shows(8));
}

// Its fault is raised anew.
TEST(interrupted_thread, waits_with_a_second_message_and_is_served_by_one_copy) {
  struct sigaction action {};
  struct sigaction former {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &former), 0);
  const auto on = handle::open();
  const test::memory one(test::memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing);
  {
    test::toucher reader(one.begin());
    ASSERT_TRUE(test::next_fault(on));
    ASSERT_TRUE(reader.waits());
    ASSERT_EQ(::tgkill(::getpid(), reader.thread_id(), SIGUSR1), 0);
    const auto again = test::next_fault(on);
    EXPECT_TRUE(again);
    EXPECT_TRUE(on.wake(one.range()));
    EXPECT_TRUE(test::next_fault(on)) << "so does a wake alone";
    ASSERT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
    EXPECT_EQ(reader.saw(), shows(7));
  }
  EXPECT_EQ(::sigaction(SIGUSR1, &former, nullptr), 0);
}

// Same-page merging shares pages between those who have the same bytes.
class merged_memory : public testing::Test {
 protected:
  static constexpr std::size_t pages = 64;

  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::pagefault_flag_wp));
    int runs = 0;
    std::ifstream("/sys/kernel/mm/ksm/run") >> runs;
    UFFDPP_REQUIRE(runs == 1 ? "" : "KSM doesn't run (/sys/kernel/mm/ksm/run)");
    std::memset(memory_.bytes().data(), 7, memory_.size());
    ASSERT_EQ(::madvise(memory_.bytes().data(), memory_.size(), MADV_MERGEABLE), 0);
    UFFDPP_REQUIRE(test::eventually([&] { return is_merged(); }) ? ""
                                                                 : "KSM has not merged the pages");
  }
  void TearDown() override { ::madvise(memory_.bytes().data(), memory_.size(), MADV_UNMERGEABLE); }
  // The last page is merged last.
  bool is_merged() const { return !test::is_exclusive(memory_.at(pages - 1)); }

  const test::memory memory_{test::memory_kind::anonymous, pages};
};

TEST_F(merged_memory, is_unmerged_although_it_is_write_protected) {
  UFFDPP_REQUIRE(test::told_marks());
  const auto on = handle::open({.required = feature::pagefault_flag_wp});
  on.register_range(memory_.range(), register_mode::write_protect);
  ASSERT_TRUE(on.write_protect(memory_.range()));
  ASSERT_EQ(::madvise(memory_.bytes().data(), memory_.size(), MADV_UNMERGEABLE), 0);
  EXPECT_TRUE(test::is_marked(memory_.at(0)));
  EXPECT_EQ(look(memory_.at(1)), shows(7));
  std::size_t exclusive = 0;
  for (std::size_t i = 0; i < pages; ++i)
    if (test::is_exclusive(memory_.at(i))) ++exclusive;
  if (exclusive == 0) GTEST_SKIP() << "this kernel leaves write-protected pages merged";
  EXPECT_EQ(exclusive, pages);
}

TEST_F(merged_memory, cannot_be_moved_until_it_is_written) {
  UFFDPP_REQUIRE(test::kernel_has(feature::move));
  const auto on = handle::open({.required = feature::move});
  const test::memory to(test::memory_kind::anonymous, 1);
  on.register_range(to.range(), register_mode::missing);
  EXPECT_EQ(on.move(to.begin(), memory_.page(0)).number, EBUSY);
  EXPECT_EQ(look(memory_.at(0)), shows(7));
}

class pinned_memory : public test::pages_to_move {};

TEST_F(pinned_memory, cannot_be_moved_until_the_pin_ends) {
  test::pin pinned(from().page(0));
  UFFDPP_REQUIRE(pinned.lacking());
  EXPECT_EQ(on().move(to().begin(), from().page(0)).number, EBUSY);
  EXPECT_EQ(look(from().begin()), shows(1));
  pinned.end();
  EXPECT_TRUE(
      test::eventually([&] { return static_cast<bool>(on().move(to().begin(), from().page(0))); }));
}

class locked_memory : public test::pages_to_move {};

TEST_F(locked_memory, cannot_be_moved_to_memory_that_is_not) {
  // Not by the C library's functions, which sanitizers replace by nothing.
  if (::syscall(SYS_mlock, from().bytes().data(), page_size()) != 0)
    GTEST_SKIP() << "mlock is not permitted";
  EXPECT_EQ(on().move(to().begin(), from().page(0)).number, EINVAL);
  EXPECT_EQ(::syscall(SYS_munlock, from().bytes().data(), page_size()), 0);
}

class protected_memory : public test::pages_to_move {};

TEST_F(protected_memory, loses_its_mark_when_it_is_moved) {
  const auto on = handle::open({.required = feature::move | feature::pagefault_flag_wp});
  const test::memory target(test::memory_kind::anonymous, 1);
  on.register_range(target.range(), register_mode::missing | register_mode::write_protect);
  on.register_range(from().range(), register_mode::write_protect);
  ASSERT_TRUE(on.write_protect(from().page(0)));
  const auto moved = on.move(target.begin(), from().page(0));
  ASSERT_TRUE(moved) << moved.error();
  EXPECT_FALSE(test::is_marked(target.begin()));
  EXPECT_EQ(test::try_write(target.begin(), 9), shows(9));
}

}  // namespace
}  // namespace uffd
