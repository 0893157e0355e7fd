// SPDX-License-Identifier: MIT
// The end of a registration where the kernel lacks something; the usual: region_test.cpp.
#include "uffd/detail/close_range.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <cerrno>
#include <optional>

#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/on_every_kind.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"

namespace uffd::detail {
namespace {

using test::look;
using test::shows;

class close_range_on_memory : public test::on_every_kind {
 protected:
  // A registration as a kernel before 6.6 would have answered it.
  region_info without_poison(flags<register_mode> modes = register_mode::missing) const {
    return {memory().range(), page_size(), modes, serve(modes) - range_ioctl::poison, 0};
  }
  region_info with_poison(flags<register_mode> modes = register_mode::missing) const {
    return {memory().range(), page_size(), modes, serve(modes), 0};
  }
};
UFFDPP_ON_EVERY_KIND(close_range_on_memory);

TEST_P(close_range_on_memory, without_poison_protects_the_whole_range) {
  const auto info = without_poison();
  ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
  close_range(on(), info, close_policy::inaccessible);
  EXPECT_EQ(look(memory().at(0)), test::takes_sigsegv);
  EXPECT_EQ(look(memory().at(1)), test::takes_sigsegv);
  EXPECT_EQ(on().copy(memory().at(2), bytes(7)).error(), condition::not_registered);
}

TEST_P(close_range_on_memory, without_poison_gives_waiters_sigsegv) {
  const auto info = without_poison();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  close_range(on(), info, close_policy::inaccessible);
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

TEST_P(close_range_on_memory, without_poison_leaves_zeroes_if_asked) {
  const auto info = without_poison();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  close_range(on(), info, close_policy::leave_zero);
  EXPECT_EQ(reader.saw(), shows(0));
}

TEST_P(close_range_on_memory, tolerates_memory_that_was_unmapped) {
  const auto info = without_poison();
  unmap();
  close_range(on(), info, close_policy::inaccessible);
}

TEST_P(close_range_on_memory, without_poison_leaves_what_was_mapped_there_since) {
  const auto info = without_poison();
  const auto hole = memory().page(1);
  ASSERT_NE(::mmap(reinterpret_cast<void*>(hole.begin()), hole.size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  test::write_byte(hole.begin(), 7);
  close_range(on(), info, close_policy::inaccessible);
  EXPECT_EQ(look(memory().at(0)), test::takes_sigsegv);
  EXPECT_EQ(look(memory().at(1)), shows(7));
  EXPECT_EQ(look(memory().at(2)), test::takes_sigsegv);
  EXPECT_EQ(look(memory().at(3)), test::takes_sigsegv);
}

TEST_P(close_range_on_memory, of_a_range_with_an_unregistered_stretch_poisons_the_rest) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  const auto info = with_poison();
  ASSERT_TRUE(on().unregister(memory().page(1)));
  close_range(on(), info, close_policy::inaccessible);
  EXPECT_EQ(look(memory().at(0)), test::takes_sigbus);
  EXPECT_EQ(look(memory().at(1)), shows(0));
  EXPECT_EQ(look(memory().at(2)), test::takes_sigbus);
}

TEST_P(close_range_on_memory, in_a_forked_child_does_nothing) {
  const auto info = with_poison();
  EXPECT_EQ(test::in_child([&] {
              close_range(on(), info, close_policy::inaccessible);
              return look(memory().begin()) == shows(0) ? 0 : 1;
            }),
            test::exits_with(0));
  EXPECT_TRUE(on().copy(memory().at(1), bytes(7)));
}

TEST(close_range, of_a_moved_from_handle_does_nothing) {
  const test::memory one(test::memory_kind::anonymous, 1);
  auto on = handle::open();
  const auto offered = on.register_range(one.range(), register_mode::missing);
  const handle taken = std::move(on);
  const region_info info{one.range(), page_size(), register_mode::missing, offered, 0};
  // NOLINTNEXTLINE(bugprone-use-after-move): what it does
  close_range(on, info, close_policy::inaccessible);
  EXPECT_TRUE(taken.copy(one.begin(), test::filled(page_size(), 7)));
}

// Another process's memory can't be protected from here: better no process than wrong bytes.
TEST(close_range, of_another_process_without_poison_ends_this_one) {
  const auto on = handle::open();
  const test::memory one(test::memory_kind::anonymous, 1);
  const auto offered = on.register_range(one.range(), register_mode::missing);
  const region_info info{one.range(), page_size(), register_mode::missing,
                         offered - range_ioctl::poison, 0};
  EXPECT_EQ(test::in_child([&, inherited = on.fd()] {
              const auto parents = handle::adopt(unique_fd(inherited), {});
              close_range(parents, info, close_policy::inaccessible);
            }),
            test::dies_of(SIGABRT));
  EXPECT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
}

TEST(close_range, of_a_child_that_died_without_poison_does_nothing) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = handle::open({.required = feature::event_fork});
  const test::memory one(test::memory_kind::anonymous, 1);
  const auto offered = on.register_range(one.range(), register_mode::missing);
  test::followed_child child(on);
  const region_info info{one.range(), page_size(), register_mode::missing,
                         offered - range_ioctl::poison, 0};
  child.end();
  close_range(child.on(), info, close_policy::inaccessible);
  EXPECT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
}

}  // namespace
}  // namespace uffd::detail
