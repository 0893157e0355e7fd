// SPDX-License-Identifier: MIT
// The policy around each ioctl. Markers on missing pages: resolve_marker_test.cpp.
#include "uffd/resolve.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"

namespace uffd {
namespace {

using state = resolution::state;
using test::look;
using test::shows;

static_assert(std::is_trivially_copyable_v<resolution>);
static_assert(std::is_convertible_v<std::error_code, resolution>);
static_assert(std::is_convertible_v<std::errc, resolution>);
static_assert(!std::is_convertible_v<outcome, resolution>);
static_assert(!std::is_convertible_v<bool, resolution>);
static_assert(!std::is_default_constructible_v<resolution>);
static_assert(resolution::resolved().is_resolved());
static_assert(!resolution::retry().is_resolved());

TEST(resolution, has_its_kind_and_no_error_unless_failed) {
  EXPECT_EQ(resolution::resolved().kind(), state::resolved);
  EXPECT_EQ(resolution::retry().kind(), state::retry);
  EXPECT_EQ(resolution::gone().kind(), state::gone);
  EXPECT_EQ(resolution::deferred().kind(), state::deferred);
  EXPECT_FALSE(resolution::gone().error());
}

TEST(resolution, of_an_error_is_failed) {
  const resolution failed = std::errc::io_error;
  EXPECT_EQ(failed.kind(), state::failed);
  EXPECT_EQ(failed.error(), std::errc::io_error);
  EXPECT_FALSE(failed.is_resolved());
  const resolution other = std::error_code(EFAULT, std::system_category());
  EXPECT_EQ(other.error(), std::errc::bad_address);
}

TEST(resolution, of_no_error_is_EIO) {
  EXPECT_EQ(resolution(std::error_code()).error(), std::errc::io_error);
}

class resolve_on_memory : public test::on_every_kind {};
UFFDPP_ON_EVERY_KIND(resolve_on_memory);

TEST_P(resolve_on_memory, copy_is_resolved_and_wakes) {
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), bytes(7), {}, page_size()).is_resolved());
  EXPECT_EQ(reader.saw(), shows(7));
}

// EEXIST wakes nobody: the library must.
TEST_P(resolve_on_memory, copy_into_a_present_page_wakes_who_waits_for_it) {
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::dont_wake));
  EXPECT_TRUE(reader.waits());
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), bytes(8), {}, page_size()).is_resolved());
  EXPECT_EQ(reader.saw(), shows(7));
}

TEST_P(resolve_on_memory, copy_goes_on_behind_pages_that_are_present) {
  serve();
  ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
  ASSERT_TRUE(on().copy(memory().at(3), bytes(7)));
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), bytes(8, 4), {}, page_size()).is_resolved());
  EXPECT_EQ(look(memory().at(0)), shows(8));
  EXPECT_EQ(look(memory().at(1)), shows(7));
  EXPECT_EQ(look(memory().at(2)), shows(8));
  EXPECT_EQ(look(memory().at(3)), shows(7));
}

TEST_P(resolve_on_memory, copy_fills_each_page_with_its_own_bytes) {
  serve();
  ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
  auto source = bytes(1, 3);
  for (std::size_t i = 0; i < source.size(); ++i)
    source[i] = static_cast<std::byte>(i / page_size() + 1);
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), source, {}, page_size()).is_resolved());
  EXPECT_EQ(look(memory().at(0)), shows(1));
  EXPECT_EQ(look(memory().at(2)), shows(3));
}

TEST_P(resolve_on_memory, copy_across_the_end_of_a_registration_fills_what_is_registered) {
  on().register_range(memory().page(0, 2), register_mode::missing);
  test::toucher reader(memory().at(1));
  ASSERT_TRUE(test::next_fault(on()));
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), bytes(7, 4), {}, page_size()).is_resolved());
  EXPECT_EQ(reader.saw(), shows(7));
  EXPECT_EQ(look(memory().at(2)), shows(0));
}

TEST_P(resolve_on_memory, copy_into_a_range_that_is_nowhere_registered_is_gone) {
  EXPECT_EQ(resolve::copy(on(), memory().begin(), bytes(7, 2), {}, page_size()).kind(),
            state::gone);
}

TEST_P(resolve_on_memory, copy_across_two_registrations_fills_both) {
  flags<register_mode> second = register_mode::missing;
  if (test::is_shared(GetParam())) second |= register_mode::minor;
  UFFDPP_REQUIRE(can(second));
  on().register_range(memory().page(0, 2), register_mode::missing);
  on().register_range(memory().page(2, 2), second);
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), bytes(7, 4), {}, page_size()).is_resolved());
  EXPECT_EQ(look(memory().at(0)), shows(7));
  EXPECT_EQ(look(memory().at(3)), shows(7));
}

TEST_P(resolve_on_memory, copy_under_munmap_is_gone_and_wakes_the_waiter) {
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  const auto range = memory().range();
  const auto source = bytes(7);
  unmap();
  EXPECT_EQ(resolve::copy(on(), range.begin(), source, {}, page_size()).kind(), state::gone);
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

TEST_P(resolve_on_memory, copy_of_unreadable_bytes_fails_with_EFAULT) {
  serve();
  const test::memory source(GetParam(), 1);
  ASSERT_EQ(::mprotect(source.bytes().data(), source.size(), PROT_NONE), 0);
  const auto result = resolve::copy(on(), memory().begin(), source.bytes(), {}, page_size());
  EXPECT_EQ(result.kind(), state::failed);
  EXPECT_EQ(result.error(), std::errc::bad_address);
}

TEST_P(resolve_on_memory, copy_of_part_of_a_page_fails_with_EINVAL) {
  serve();
  const auto part = test::filled(page_size() / 2 + 1, 7);
  EXPECT_EQ(resolve::copy(on(), memory().begin(), part, {}, page_size()).error(),
            std::errc::invalid_argument);
  EXPECT_EQ(resolve::copy(on(), memory().begin(), {}, {}, page_size()).error(),
            std::errc::invalid_argument);
}

TEST_P(resolve_on_memory, zeropage_is_resolved_but_fails_with_EINVAL_for_huge_pages) {
  serve();
  const auto result = resolve::zeropage(on(), memory().page(0, 2), page_size());
  if (test::is_huge(GetParam())) {
    EXPECT_EQ(result.error(), std::errc::invalid_argument);
  } else {
    EXPECT_TRUE(result.is_resolved());
    EXPECT_EQ(look(memory().at(1)), shows(0));
  }
}

class resolve_on_small_memory : public test::on_every_kind {};
UFFDPP_ON_KINDS(resolve_on_small_memory, test::small_kinds);

TEST_P(resolve_on_small_memory, zeropage_into_a_present_page_wakes_who_waits_for_it) {
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::dont_wake));
  EXPECT_TRUE(resolve::zeropage(on(), memory().page(0, 2)).is_resolved());
  EXPECT_EQ(reader.saw(), shows(7));
  EXPECT_EQ(look(memory().at(1)), shows(0));
}

TEST_P(resolve_on_memory, poison_is_resolved_and_leaves_present_pages_alone) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::dont_wake));
  EXPECT_TRUE(resolve::poison(on(), memory().range(), page_size()).is_resolved());
  EXPECT_EQ(reader.saw(), shows(7));
  EXPECT_EQ(look(memory().at(1)), test::takes_sigbus);
  EXPECT_EQ(look(memory().at(3)), test::takes_sigbus);
}

TEST_P(resolve_on_memory, unprotect_lets_writers_go_on) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  serve(register_mode::missing | register_mode::write_protect);
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::write_protect));
  test::toucher writer(memory().begin(), 9);
  ASSERT_TRUE(test::next_fault(on()));
  EXPECT_TRUE(resolve::unprotect(on(), memory().page(0)).is_resolved());
  EXPECT_EQ(writer.saw(), shows(9));
}

TEST_P(resolve_on_memory, unprotect_of_a_range_that_is_no_longer_registered_is_gone_and_wakes) {
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::dont_wake));
  EXPECT_EQ(resolve::unprotect(on(), memory().page(0)).kind(), state::gone);
  EXPECT_EQ(reader.saw(), shows(7));
}

class resolve_on_shared_memory : public test::on_every_kind {};
UFFDPP_ON_KINDS(resolve_on_shared_memory, test::shared_kinds);

TEST_P(resolve_on_shared_memory,
       continue_maps_what_is_there_and_wakes_for_what_was_mapped_already) {
  UFFDPP_REQUIRE(can(register_mode::minor));
  serve(register_mode::missing | register_mode::minor);
  const auto alias = memory().mapping().alias();
  for (std::size_t i = 0; i < 3; ++i) test::write_byte(alias.range().begin() + i * page_size(), 7);
  test::toucher reader(memory().at(1));
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().continue_(memory().page(1), fill_mode::dont_wake));
  EXPECT_TRUE(reader.waits());
  EXPECT_TRUE(resolve::continue_(on(), memory().page(0, 3), {}, page_size()).is_resolved());
  EXPECT_EQ(reader.saw(), shows(7));
  EXPECT_EQ(look(memory().at(2)), shows(7));
}

TEST_P(resolve_on_shared_memory, continue_into_a_hole_of_the_page_cache_fails_with_EFAULT) {
  UFFDPP_REQUIRE(can(register_mode::minor));
  serve(register_mode::missing | register_mode::minor);
  EXPECT_EQ(resolve::continue_(on(), memory().page(0), {}, page_size()).error(),
            std::errc::bad_address);
}

TEST(resolve, across_two_mappings_fills_both) {
  const auto on = handle::open();
  const test::memory four(test::memory_kind::anonymous, 4);
  // The second half becomes shared memory: a mapping of its own, right behind the first.
  const auto half = 2 * page_size();
  ASSERT_NE(::mmap(four.bytes().data() + half, half, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  on.register_range(four.range(), register_mode::missing);
  EXPECT_EQ(on.copy(four.begin(), test::filled(four.size(), 7)).error(), condition::not_registered);
  EXPECT_TRUE(resolve::copy(on, four.begin(), test::filled(four.size(), 7)).is_resolved());
  EXPECT_EQ(look(four.at(1)), shows(7));
  EXPECT_EQ(look(four.at(2)), shows(7));
  EXPECT_TRUE(resolve::zeropage(on, four.range()).is_resolved());
}

TEST(resolve, with_an_event_unread_is_retry_and_later_resolved) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove));
  const auto on = handle::open({.required = feature::event_remove});
  const test::memory two(test::memory_kind::anonymous, 2);
  on.register_range(two.range(), register_mode::missing);
  test::background remover([&] { ::madvise(two.bytes().data(), page_size(), MADV_DONTNEED); });
  ASSERT_TRUE(test::readable(on.fd()));
  const auto bytes = test::filled(page_size(), 7);
  EXPECT_EQ(resolve::copy(on, two.at(1), bytes).kind(), state::retry);
  EXPECT_EQ(resolve::zeropage(on, two.page(1)).kind(), state::retry);
  EXPECT_TRUE(test::next<remove_event>(on));
  EXPECT_TRUE(remover.finishes());
  EXPECT_TRUE(resolve::copy(on, two.at(1), bytes).is_resolved());
}

TEST(resolve, for_a_child_that_died_is_gone) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = handle::open(
      {.required = feature::event_fork, .optional = test::harmless_features - feature::thread_id});
  const test::memory one(test::memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing | register_mode::write_protect);
  test::followed_child child(on);
  child.end();
  const auto bytes = test::filled(page_size(), 7);
  EXPECT_EQ(resolve::copy(child.on(), one.begin(), bytes).kind(), state::gone);
  EXPECT_EQ(resolve::zeropage(child.on(), one.range()).kind(), state::gone);
  if (test::kernel_has(feature::minor_shmem).empty()) {
    EXPECT_EQ(resolve::continue_(child.on(), one.range()).kind(), state::gone);
  }
  if (test::kernel_has(feature::poison).empty()) {
    EXPECT_EQ(resolve::poison(child.on(), one.range()).kind(), state::gone);
  }
  EXPECT_EQ(resolve::unprotect(child.on(), one.range()).kind(), state::gone);
}

TEST(resolve, through_a_moved_from_handle_fails_with_EBADF) {
  const test::memory one(test::memory_kind::anonymous, 1);
  auto on = handle::open();
  const handle taken = std::move(on);
  // NOLINTNEXTLINE(bugprone-use-after-move): what it answers
  EXPECT_EQ(resolve::zeropage(on, one.range()).error(), std::errc::bad_file_descriptor);
}

}  // namespace
}  // namespace uffd
