// SPDX-License-Identifier: MIT
// Operations while the address space changes, after it has changed, and when it is gone.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "support/background.hpp"
#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/memory.hpp"
#include "support/operations.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

// Tries until the kernel allows it: EAGAIN outlasts the read of an event.
template <class Operation>
outcome persistently(Operation operation) {
  const auto deadline = std::chrono::steady_clock::now() + test::patience;
  outcome result = operation();
  while (result.error() == condition::retry && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    result = operation();
  }
  return result;
}

class handle_with_an_unread_event : public testing::TestWithParam<test::memory_kind> {
 protected:
  void SetUp() override {
    const auto needed = feature::event_remove | feature::poison | feature::move |
                        feature::wp_hugetlbfs_shmem | feature::minor_shmem;
    UFFDPP_REQUIRE(test::kernel_has(needed));
    on_.emplace(handle::open({.required = needed}));
    auto modes = register_mode::missing | register_mode::write_protect;
    if (test::is_shared(GetParam())) modes |= register_mode::minor;
    on_->register_range(memory_.range(), modes);
    ASSERT_TRUE(on_->copy(memory_.at(3), test::filled(page_size(), 7)));
    // Waits in the kernel until its event is read.
    remover_.emplace([this] { ::madvise(memory_.bytes().data(), page_size(), MADV_DONTNEED); });
    ASSERT_TRUE(test::readable(on_->fd()));
  }
  void TearDown() override {
    if (!on_) return;
    EXPECT_TRUE(test::next<remove_event>(*on_));
    EXPECT_TRUE(remover_->finishes());
    remover_.reset();
    EXPECT_TRUE(persistently([&] { return on_->zeropage(memory_.page(0)); }));
  }

  const test::memory memory_{GetParam(), 4};
  std::optional<handle> on_;
  std::optional<test::background> remover_;
};
UFFDPP_ON_KINDS(handle_with_an_unread_event, test::small_kinds);

// -EAGAIN in the kernel's signed result field is no count of bytes.
TEST_P(handle_with_an_unread_event, answers_retry_and_no_bytes_to_all_that_changes_pages) {
  const auto page = memory_.page(1);
  const auto expect_retry = [](outcome result, const char* name) {
    EXPECT_EQ(result.error(), condition::retry) << name << ": " << result.error().message();
    EXPECT_EQ(result.bytes, 0u) << name;
  };
  expect_retry(on_->copy(page.begin(), test::filled(page_size(), 1)), "copy");
  expect_retry(on_->zeropage(page), "zeropage");
  expect_retry(on_->move(page.begin(), memory_.page(3)), "move");
  expect_retry(on_->continue_(page), "continue");
  expect_retry(on_->poison(page), "poison");
  expect_retry(on_->write_protect(page), "write_protect");
  expect_retry(on_->write_unprotect(page), "write_unprotect");
}

TEST_P(handle_with_an_unread_event, can_wake_all_the_same) {
  EXPECT_TRUE(on_->wake(memory_.page(1)));
}

TEST(handle_of_unmapped_memory, wakes_a_waiter_into_sigsegv) {
  const auto on = handle::open();
  std::optional<test::memory> gone(std::in_place, test::memory_kind::anonymous, 1);
  const auto range = gone->range();
  const test::fence fenced(range);
  on.register_range(range, register_mode::missing);
  test::toucher reader(range.begin());
  ASSERT_TRUE(test::next_fault(on));
  gone.reset();
  EXPECT_TRUE(reader.waits());
  EXPECT_EQ(on.copy(range.begin(), test::filled(page_size(), 7)).error(),
            condition::not_registered);
  EXPECT_TRUE(on.wake(range));
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

TEST(handle_of_unmapped_memory, hears_of_the_unmap_and_wakes_the_waiter) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_unmap));
  const auto on = handle::open({.required = feature::event_unmap});
  std::optional<test::memory> gone(std::in_place, test::memory_kind::anonymous, 2);
  const auto range = gone->range();
  const test::fence fenced(range);
  on.register_range(range, register_mode::missing);
  test::toucher reader(range.begin());
  ASSERT_TRUE(test::next_fault(on));
  test::background unmapper([&] { gone.reset(); });
  EXPECT_TRUE(unmapper.blocks(test::waits_for_reader));
  const auto unmapped = test::next<unmap_event>(on);
  ASSERT_TRUE(unmapped);
  EXPECT_EQ(unmapped->range, range);
  EXPECT_TRUE(unmapper.finishes());
  EXPECT_TRUE(on.wake(range));
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

// Cut short under the waiter: no event tells.
TEST(handle_of_truncated_memory, wakes_a_waiter_into_sigbus) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_shmem));
  const auto on = handle::open();
  const test::memory cut(test::memory_kind::shared, 1);
  on.register_range(cut.range(), register_mode::missing);
  test::toucher reader(cut.begin());
  ASSERT_TRUE(test::next_fault(on));
  ASSERT_EQ(::ftruncate(cut.mapping().file(), 0), 0);
  EXPECT_TRUE(reader.waits());
  EXPECT_TRUE(on.wake(cut.range()));
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
}

class handle_of_a_child : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::fork_events());
    const auto offered = test::this_machine().features();
    on_.emplace(handle::open(
        {.required = feature::event_fork,
         .optional = offered & (feature::poison | feature::move | feature::wp_unpopulated)}));
    on_->register_range(memory_.range(), register_mode::missing | register_mode::write_protect);
  }

  const test::memory memory_{test::memory_kind::anonymous, 2};
  std::optional<handle> on_;
};

TEST_F(handle_of_a_child, is_foreign_and_has_the_parents_features) {
  const test::followed_child child(*on_);
  EXPECT_TRUE(child.on().foreign());
  EXPECT_EQ(child.on().features(), on_->features());
}

TEST_F(handle_of_a_child, fills_the_childs_memory_and_not_the_parents) {
  test::followed_child child(*on_,
                             [&] { return test::look(memory_.begin()) == test::shows(9) ? 0 : 1; });
  ASSERT_TRUE(test::next_fault(child.on()));
  ASSERT_TRUE(child.on().copy(memory_.begin(), test::filled(page_size(), 9)));
  EXPECT_EQ(child.process().wait(), test::exits_with(0));
  ASSERT_TRUE(
      persistently([&] { return on_->copy(memory_.begin(), test::filled(page_size(), 7)); }));
  EXPECT_EQ(test::look(memory_.begin()), test::shows(7));
}

TEST_F(handle_of_a_child, that_died_reports_target_gone) {
  test::followed_child child(*on_);
  child.end();
  for (const auto& [name, result] : test::every_operation(child.on(), memory_.range())) {
    if (name.starts_with("read_write_") || name == "set_mode") continue;
    if (name == "poison" && !test::kernel_has(feature::poison).empty()) continue;
    if (name == "continue" && !test::kernel_has(feature::minor_shmem).empty()) continue;
    if (name == "wake") {
      EXPECT_TRUE(result);
    } else if (name == "unregister") {
      EXPECT_EQ(result.number, ENOMEM);
    } else if (name == "move") {
      EXPECT_EQ(result.number, EINVAL);  // never works through a child's
    } else {
      EXPECT_EQ(result.error(), condition::target_gone) << name << ": " << result.number;
      EXPECT_EQ(result.bytes, 0u) << name;
    }
  }
}

TEST_F(handle_of_a_child, that_replaced_its_memory_by_exec_reports_target_gone) {
  test::followed_child child(*on_, [] { ::execl("/bin/sleep", "sleep", "20", nullptr); });
  EXPECT_TRUE(persistently([&] {
    // Present until the exec, gone from then on: EEXIST meanwhile.
    auto result = child.on().zeropage(memory_.page(0));
    if (result || result.number == EEXIST) result.number = EAGAIN;
    if (result.error() == condition::target_gone) result.number = 0;
    return result;
  }));
}

}  // namespace
}  // namespace uffd
