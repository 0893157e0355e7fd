// SPDX-License-Identifier: MIT
// Whose descriptor it is and when it closes. What its operations do: handle_*_test.cpp.
#include "uffd/handle.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "support/descriptors.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

static_assert(!std::is_default_constructible_v<handle>);
static_assert(!std::is_copy_constructible_v<handle>);
static_assert(!std::is_copy_assignable_v<handle>);
static_assert(std::is_nothrow_move_constructible_v<handle>);
static_assert(std::is_nothrow_move_assignable_v<handle>);
static_assert(!std::is_constructible_v<handle, int>);

TEST(handle, descriptor_is_closed_on_exec_and_never_blocks) {
  const auto on = handle::open();
  EXPECT_EQ(::fcntl(on.fd(), F_GETFD), FD_CLOEXEC);
  EXPECT_NE(::fcntl(on.fd(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(handle, end_closes_the_descriptor) {
  std::optional on = handle::open();
  const int number = on->fd();
  ASSERT_TRUE(test::is_open(number));
  on.reset();
  EXPECT_FALSE(test::is_open(number));
}

TEST(handle, move_takes_the_descriptor_along) {
  auto first = handle::open({.optional = feature::event_unmap});
  const int number = first.fd();
  const auto features = first.features();
  const handle second = std::move(first);
  EXPECT_EQ(second.fd(), number);
  EXPECT_EQ(second.features(), features);
  EXPECT_TRUE(test::is_open(number));
}

TEST(handle, assignment_closes_the_former_descriptor) {
  auto first = handle::open();
  auto second = handle::open();
  const int closed = first.fd();
  const int kept = second.fd();
  first = std::move(second);
  EXPECT_FALSE(test::is_open(closed));
  EXPECT_EQ(first.fd(), kept);
}

TEST(handle, assignment_to_itself_changes_nothing) {
  auto on = handle::open();
  const int number = on.fd();
  auto& same = on;
  on = std::move(same);
  EXPECT_EQ(on.fd(), number);
  EXPECT_TRUE(test::is_open(number));
}

// NOLINTBEGIN(bugprone-use-after-move): what a moved-from handle answers
TEST(handle, moved_from_has_nothing) {
  auto on = handle::open({.optional = feature::event_unmap});
  const handle taken = std::move(on);
  EXPECT_EQ(on.fd(), -1);
  EXPECT_TRUE(on.features().empty());
  EXPECT_FALSE(on.serves_kernel_faults());
  EXPECT_FALSE(on.foreign());
}

TEST(handle, moved_from_answers_EBADF_to_every_operation) {
  const test::memory memory(test::memory_kind::anonymous, 2);
  auto on = handle::open();
  const handle taken = std::move(on);
  for (const auto& [name, result] : test::every_operation(on, memory.range())) {
    EXPECT_EQ(result.number, EBADF) << name;
    EXPECT_EQ(result.bytes, 0u) << name;
  }
}

TEST(handle, moved_from_throws_EBADF_from_set_up) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  auto on = handle::open();
  const handle taken = std::move(on);
  EXPECT_EQ(test::thrown([&] { on.register_range(memory.range(), register_mode::missing); }),
            EBADF);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(on.release()); }), EBADF);
  EXPECT_EQ(test::thrown([&] { region(on, memory.range()); }), EBADF);
}
// NOLINTEND(bugprone-use-after-move)

TEST(handle, region_keeps_the_descriptor_open_after_the_handles_end) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  std::optional on = handle::open();
  std::optional<region> registered(std::in_place, *on, memory.range());
  const int number = on->fd();
  on.reset();
  EXPECT_TRUE(test::is_open(number));
  registered->complete();
  registered.reset();
  EXPECT_FALSE(test::is_open(number));
}

TEST(handle, release_gives_the_descriptor_away_open) {
  auto on = handle::open();
  const int number = on.fd();
  const auto released = on.release();
  EXPECT_EQ(released.get(), number);
  EXPECT_EQ(on.fd(), -1);
  EXPECT_TRUE(test::is_open(number));
}

TEST(handle, release_throws_EBUSY_while_a_region_lives_and_changes_nothing) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  auto on = handle::open();
  const int number = on.fd();
  {
    region registered(on, memory.range());
    EXPECT_EQ(test::thrown([&] { static_cast<void>(on.release()); }), EBUSY);
    EXPECT_EQ(on.fd(), number);
    EXPECT_TRUE(on.copy(memory.begin(), test::filled(memory.size(), 7)));
  }
  EXPECT_EQ(on.release().get(), number);
}

TEST(handle, leaks_no_descriptor_however_it_ends) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  static_cast<void>(handle::open());  // what is opened once for all
  const auto before = test::open_descriptors();
  for (int i = 0; i < 200; ++i) {
    auto on = handle::open({.optional = feature::event_fork | feature::event_unmap});
    region registered(on, memory.range());
    registered.complete();
    handle moved = std::move(on);
    on = handle::open();
    on = handle::adopt(on.release(), {});
  }
  EXPECT_EQ(test::open_descriptors(), before);
}

}  // namespace
}  // namespace uffd
