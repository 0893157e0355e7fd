// SPDX-License-Identifier: MIT
// Regions that move, end in another order, in another process, or can't begin.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

static_assert(!std::is_default_constructible_v<region>);
static_assert(!std::is_copy_constructible_v<region>);
static_assert(!std::is_copy_assignable_v<region>);
static_assert(std::is_nothrow_move_constructible_v<region>);
static_assert(std::is_nothrow_move_assignable_v<region>);

// Never zeroes: SIGBUS where the kernel can poison, else SIGSEGV.
testing::AssertionResult inaccessible(std::uintptr_t address) {
  const auto seen = test::look(address);
  if (seen.signal != 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "shows " << seen;
}

test::refusal refused(const handle& on, page_range range, std::size_t page = page_size()) {
  return test::refusal_of(
      [&] { const region unexpected(on, range, register_mode::missing, page); });
}

TEST(region, that_is_unaligned_empty_or_past_the_end_is_EINVAL_by_name) {
  const auto on = handle::open();
  const test::memory two(test::memory_kind::anonymous, 2);
  const auto unaligned = refused(on, {two.begin() + 1, page_size()});
  EXPECT_EQ(unaligned.number, EINVAL);
  EXPECT_TRUE(unaligned.names("not aligned to pages of")) << unaligned.words;
  const auto empty = refused(on, {two.begin(), 0});
  EXPECT_EQ(empty.number, EINVAL);
  EXPECT_TRUE(empty.names("empty")) << empty.words;
  const auto wrapping = refused(on, {~std::uintptr_t{0} << 12, 2 * page_size()});
  EXPECT_EQ(wrapping.number, EINVAL);
  EXPECT_TRUE(wrapping.names("region [0xfffffffffffff000")) << wrapping.words;
}

TEST(region, of_pages_of_no_page_size_is_EINVAL_by_name) {
  const auto on = handle::open();
  const test::memory two(test::memory_kind::anonymous, 2);
  for (const std::size_t page :
       {std::size_t{0}, std::size_t{1}, page_size() / 2, 3 * page_size()}) {
    const auto error = refused(on, two.range(), page);
    EXPECT_EQ(error.number, EINVAL);
    EXPECT_TRUE(error.names(std::to_string(page) + " bytes is no page size")) << error.words;
  }
}

TEST(region, of_part_of_a_huge_page_is_EINVAL_by_name) {
  UFFDPP_REQUIRE(test::huge_pages(1));
  const auto on = handle::open();
  const test::memory one(test::memory_kind::huge, 1);
  const auto error = refused(on, {one.begin(), page_size()}, test::huge_page_size);
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("not aligned to pages of 2097152 bytes")) << error.words;
}

TEST(region, that_cannot_begin_leaves_the_handle_free) {
  auto on = handle::open();
  const auto owner = handle::open();
  const test::memory one(test::memory_kind::anonymous, 1);
  const region registered(owner, one.range());
  EXPECT_EQ(test::thrown([&] { region(on, one.range()); }), EBUSY);
  EXPECT_TRUE(on.release());
}

TEST(region, move_leaves_one_end) {
  const auto on = handle::open();
  const test::memory one(test::memory_kind::anonymous, 1);
  std::optional<region> first(std::in_place, on, one.range());
  region second = std::move(*first);
  first.reset();
  EXPECT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
  EXPECT_EQ(second.info().range, one.range());
}

TEST(region, move_of_a_completed_one_stays_complete) {
  const test::memory one(test::memory_kind::anonymous, 1);
  {
    region first(handle::open(), one.range());
    first.complete();
    const region second = std::move(first);
  }
  EXPECT_EQ(test::look(one.begin()), test::shows(0));
}

TEST(region, assignment_ends_the_former) {
  const auto on = handle::open();
  const test::memory two(test::memory_kind::anonymous, 2);
  region first(on, two.page(0));
  first = region(on, two.page(1));
  EXPECT_EQ(on.copy(two.at(0), test::filled(page_size(), 7)).error(), condition::not_registered);
  EXPECT_TRUE(on.copy(two.at(1), test::filled(page_size(), 7)));
  EXPECT_TRUE(inaccessible(two.at(0)));
}

TEST(region, assignment_to_itself_changes_nothing) {
  const auto on = handle::open();
  const test::memory one(test::memory_kind::anonymous, 1);
  region registered(on, one.range());
  auto& same = registered;
  registered = std::move(same);
  EXPECT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
}

TEST(region, outlives_its_handle) {
  const test::memory one(test::memory_kind::anonymous, 1);
  std::optional<region> registered(std::in_place, handle::open(), one.range());
  test::toucher reader(one.begin());
  EXPECT_TRUE(reader.waits());  // still served: the descriptor is open
  registered.reset();
  ASSERT_TRUE(reader.finishes());
  EXPECT_NE(reader.saw()->signal, 0);
}

TEST(region, end_frees_what_lies_around_memory_that_cannot_be_registered) {
  const auto on = handle::open();
  const test::memory memory(test::memory_kind::anonymous, 5);
  std::optional<region> served(std::in_place, on, memory.range());
  const unique_fd program(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  ASSERT_NE(::mmap(reinterpret_cast<void*>(memory.at(2)), page_size(), PROT_READ,
                   MAP_PRIVATE | MAP_FIXED, program.get(), 0),
            MAP_FAILED);
  served->complete();
  served.reset();
  for (const std::size_t page : {0U, 1U, 3U, 4U})
    EXPECT_EQ(test::look(memory.at(page)), test::shows(0)) << "page " << page;
}

TEST(region, end_in_a_forked_child_changes_nothing_there_nor_in_the_parent) {
  const auto on = handle::open();
  const test::memory one(test::memory_kind::anonymous, 1);
  std::optional<region> registered(std::in_place, on, one.range());
  EXPECT_EQ(test::in_child([&] {
              registered.reset();
              return test::look(one.begin()) == test::shows(0) ? 0 : 1;  // as any fork leaves it
            }),
            test::exits_with(0));
  EXPECT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
}

TEST(region, of_a_child_ends_with_its_missing_pages_inaccessible) {
  UFFDPP_REQUIRE(test::fork_events());
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  const auto on = handle::open({.required = feature::event_fork | feature::poison});
  const test::memory two(test::memory_kind::anonymous, 2);
  on.register_range(two.range(), register_mode::missing);
  test::followed_child child(on,
                             [&] { return test::look(two.begin()) == test::takes_sigbus ? 0 : 1; });
  ASSERT_TRUE(test::next_fault(child.on()));
  { const region of_child(child.on(), two.range()); }
  EXPECT_EQ(child.process().wait(), test::dies_of(SIGBUS));
  EXPECT_TRUE(on.unregister(two.range()));
}

TEST(region, of_a_child_that_died_ends_quietly) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = handle::open({.required = feature::event_fork, .optional = feature::poison});
  const test::memory one(test::memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing);
  test::followed_child child(on);
  std::optional<region> of_child(std::in_place, child.on(), one.range());
  child.end();
  of_child.reset();
  EXPECT_TRUE(on.unregister(one.range()));
}

TEST(region, end_while_an_event_is_unread_shows_no_zeroes) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove));
  const test::memory three(test::memory_kind::anonymous, 3);
  const auto on = handle::open({.required = feature::event_remove, .optional = feature::poison});
  std::optional<region> registered(std::in_place, on, three.range());
  test::background remover([&] { ::madvise(three.bytes().data(), page_size(), MADV_DONTNEED); });
  ASSERT_TRUE(test::readable(on.fd()));
  registered.reset();
  EXPECT_TRUE(inaccessible(three.at(1)));
  EXPECT_TRUE(test::next<remove_event>(on));
  EXPECT_TRUE(remover.finishes());
  EXPECT_TRUE(inaccessible(three.at(2)));
}

TEST(region, end_waits_for_an_event_that_is_read_meanwhile) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove | feature::poison));
  const test::memory three(test::memory_kind::anonymous, 3);
  const auto on = handle::open({.required = feature::event_remove | feature::poison});
  std::optional<region> registered(std::in_place, on, three.range());
  ASSERT_TRUE(on.copy(three.at(2), test::filled(page_size(), 7)));
  test::background remover([&] { ::madvise(three.bytes().data(), page_size(), MADV_DONTNEED); });
  ASSERT_TRUE(test::readable(on.fd()));
  test::background ending([&] { registered.reset(); });
  EXPECT_TRUE(test::next<remove_event>(on));
  EXPECT_TRUE(ending.finishes());
  EXPECT_EQ(test::look(three.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::look(three.at(2)), test::shows(7));
}

}  // namespace
}  // namespace uffd
