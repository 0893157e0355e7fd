// SPDX-License-Identifier: MIT
// Where the write-protect mark of a page goes: into forked children, along with moved memory,
// through the loss of the page.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <optional>
#include <string>
#include <tuple>

#include "support/background.hpp"
#include "support/event_causes.hpp"
#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/page_flags.hpp"
#include "support/pin.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/swap.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using test::is_marked;
using test::memory_kind;

// Until Linux 6.3, children that nobody follows inherit the marks of private huge pages.
std::string ordinary_huge_pages() {
  const auto on = handle::open({.required = feature::wp_hugetlbfs_shmem});
  const test::memory one(memory_kind::huge, 1);
  on.register_range(one.range(), register_mode::write_protect);
  test::write_byte(one.begin(), 7);
  if (!on.write_protect(one.range())) return "huge pages can't be protected";
  const auto marked = test::in_child([&] { return is_marked(one.begin()) ? 1 : 0; });
  return marked == test::exits_with(0) ? "" : "this kernel forks the marks of huge pages wrongly";
}

// Four pages of a kind, all there and protected, on a handle that follows forks or doesn't.
class mark_at_a_fork : public testing::TestWithParam<std::tuple<memory_kind, bool>> {
 protected:
  static constexpr std::size_t pages = 4;

  void SetUp() override {
    const auto [kind, follows] = GetParam();
    UFFDPP_REQUIRE(test::available(kind, pages, register_mode::write_protect));
    UFFDPP_REQUIRE(test::told_marks());
    if (kind == memory_kind::huge) UFFDPP_REQUIRE(ordinary_huge_pages());
    if (follows) UFFDPP_REQUIRE(test::fork_events());
    memory_.emplace(kind, pages);
    std::memset(memory_->bytes().data(), 7, memory_->size());
    auto required = test::features_of(kind, register_mode::write_protect);
    if (follows) required |= feature::event_fork;
    on_.emplace(handle::open({.required = required}));
    on_->register_range(memory_->range(), register_mode::write_protect);
  }

  bool is_followed() const { return std::get<1>(GetParam()); }
  // Expects that many pages to be marked in a child forked now.
  void expect_in_child(int marked) const {
    const auto found = seen_in_child();
    if (found == test::exits_with(forgot)) GTEST_SKIP() << test::forgetful_fork;
    EXPECT_EQ(found, test::exits_with(marked));
  }

  std::optional<test::memory> memory_;
  std::optional<handle> on_;

 private:
  static constexpr int forgot = 50;

  // How many are marked, or `forgot`: the child's exit code.
  test::ending seen_in_child() const {
    const bool stays_there = std::get<0>(GetParam()) == memory_kind::huge;
    const auto count = [this, stays_there] {
      int marked = 0;
      for (std::size_t i = 0; i < pages; ++i) {
        if (stays_there && !test::is_there(memory_->at(i))) return forgot;
        marked += is_marked(memory_->at(i)) ? 1 : 0;
      }
      return marked;
    };
    if (!is_followed()) return test::in_child(count);
    test::followed_child child(*on_, count);
    return child.process().wait();
  }
};
INSTANTIATE_TEST_SUITE_P(memory, mark_at_a_fork,
                         testing::Combine(testing::ValuesIn(test::every_kind), testing::Bool()),
                         [](const auto& made) {
                           return std::string(test::name_of(std::get<0>(made.param))) +
                                  (std::get<1>(made.param) ? "_followed" : "_not_followed");
                         });

TEST_P(mark_at_a_fork, is_inherited_by_followed_children_alone) {
  ASSERT_TRUE(on_->write_protect(memory_->page(0, 2)));
  expect_in_child(is_followed() ? 2 : 0);
  EXPECT_TRUE(is_marked(memory_->at(1))) << "the parent keeps it";
  EXPECT_FALSE(is_marked(memory_->at(2)));
}

// What is dropped from shared memory leaves a marker; reclaim takes private pages only to swap.
TEST_P(mark_at_a_fork, is_inherited_by_followed_children_alone_after_the_page_was_dropped) {
  const auto kind = std::get<0>(GetParam());
  const auto advice = test::is_shared(kind) ? MADV_DONTNEED : MADV_PAGEOUT;
  ASSERT_TRUE(on_->write_protect(memory_->page(0, 2)));
  if (::madvise(memory_->bytes().data(), memory_->size(), advice) != 0) {
    ASSERT_TRUE(kind == memory_kind::huge) << "huge pages can't be paged out";
  }
  EXPECT_TRUE(is_marked(memory_->at(0)));
  expect_in_child(is_followed() ? 2 : 0);
  EXPECT_TRUE(is_marked(memory_->at(0))) << "the parent keeps it";
}

TEST_P(mark_at_a_fork, that_was_taken_off_does_not_come_back) {
  ASSERT_TRUE(on_->write_protect(memory_->range()));
  expect_in_child(is_followed() ? pages : 0);
  ASSERT_TRUE(on_->write_unprotect(memory_->range()));
  expect_in_child(0);
  EXPECT_FALSE(is_marked(memory_->at(0)));
  EXPECT_EQ(test::try_write(memory_->begin(), 9), test::shows(9));
  EXPECT_FALSE(is_marked(memory_->at(0)));
}

// A pinned page is copied by fork() itself, not by the first write.
TEST_P(mark_at_a_fork, is_inherited_by_followed_children_alone_on_pinned_pages_too) {
  const test::pin pinned(memory_->page(0, 2));
  UFFDPP_REQUIRE(pinned.lacking());
  ASSERT_TRUE(on_->write_protect(memory_->page(0, 2)));
  expect_in_child(is_followed() ? 2 : 0);
  EXPECT_TRUE(is_marked(memory_->at(0)));
}

class mark_of_a_missing_page : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated));
    on_.emplace(handle::open({.required = feature::wp_unpopulated}));
    on_->register_range(one_.range(), register_mode::write_protect);
    ASSERT_TRUE(on_->write_protect(one_.range()));
    ASSERT_TRUE(is_marked(one_.begin()));
  }

  const test::memory one_{memory_kind::anonymous, 1};
  std::optional<handle> on_;
};

TEST_F(mark_of_a_missing_page, is_taken_off_by_unprotecting) {
  ASSERT_TRUE(on_->write_unprotect(one_.range()));
  EXPECT_FALSE(is_marked(one_.begin()));
  EXPECT_EQ(test::try_write(one_.begin(), 9), test::shows(9));
  EXPECT_FALSE(is_marked(one_.begin()));
}

TEST_F(mark_of_a_missing_page, is_lost_when_the_memory_is_dropped) {
  test::drop(one_.range());
  EXPECT_FALSE(is_marked(one_.begin()));
  EXPECT_EQ(test::try_write(one_.begin(), 9), test::shows(9));
}

TEST_F(mark_of_a_missing_page, stays_when_it_is_read) {
  EXPECT_EQ(test::look(one_.begin()), test::shows(0));
  EXPECT_TRUE(is_marked(one_.begin()));
}

// Protected memory of a kind is moved by mremap to where other memory of the kind was.
class mark_of_moved_memory : public test::on_every_kind {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::available(GetParam(), 2 * pages, register_mode::write_protect));
    UFFDPP_REQUIRE(test::movable(GetParam()));
    UFFDPP_REQUIRE(test::told_marks());
    on_every_kind::SetUp();
    std::memset(memory().bytes().data(), 7, memory().size());
    target_.emplace(GetParam(), pages);
  }

  void protect_and_move(const handle& on) {
    on.register_range(memory().range(), register_mode::write_protect);
    ASSERT_TRUE(on.write_protect(memory().range()));
    move();
  }
  // Until Linux 6.12 it keeps them.
  std::string lost_marks() const {
    return marked() == 0 ? "" : "this kernel keeps the marks of moved memory";
  }
  void move() const { test::move_memory(memory().range(), target_->begin()); }
  std::size_t marked() const {
    std::size_t count = 0;
    for (std::size_t i = 0; i < pages; ++i)
      if (is_marked(target_->at(i))) ++count;
    return count;
  }

  std::optional<test::memory> target_;
};
UFFDPP_ON_EVERY_KIND(mark_of_moved_memory);

TEST_P(mark_of_moved_memory, is_lost_without_remap_events) {
  protect_and_move(on());
  UFFDPP_REQUIRE(lost_marks());
  EXPECT_EQ(test::try_write(target_->at(1), 9), test::shows(9));
  EXPECT_EQ(on().write_protect(target_->range()).error(), condition::not_registered);
}

TEST_P(mark_of_moved_memory, is_lost_without_remap_events_where_the_page_was_dropped_too) {
  on().register_range(memory().range(), register_mode::write_protect);
  ASSERT_TRUE(on().write_protect(memory().range()));
  if (!test::is_shared(GetParam())) {
    UFFDPP_REQUIRE(test::is_huge(GetParam()) ? "huge pages are not swapped out"
                                             : test::swap_space());
    ASSERT_EQ(::madvise(memory().bytes().data(), memory().size(), MADV_PAGEOUT), 0);
  } else {
    ASSERT_EQ(::madvise(memory().bytes().data(), memory().size(), MADV_DONTNEED), 0);
  }
  ASSERT_TRUE(is_marked(memory().at(1)));
  move();
  UFFDPP_REQUIRE(lost_marks());
  EXPECT_EQ(test::look(target_->at(1)), test::shows(7));
}

TEST_P(mark_of_moved_memory, goes_along_with_remap_events) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remap));
  const auto on =
      handle::open({.required = feature::event_remap |
                                test::features_of(GetParam(), register_mode::write_protect)});
  test::background mover([&] { protect_and_move(on); });
  EXPECT_TRUE(test::next<remap_event>(on));
  EXPECT_TRUE(mover.finishes());
  EXPECT_EQ(marked(), pages);
  EXPECT_TRUE(on.write_unprotect(target_->range()));
  EXPECT_EQ(test::try_write(target_->at(1), 9), test::shows(9));
}

}  // namespace
}  // namespace uffd
