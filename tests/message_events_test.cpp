// SPDX-License-Identifier: MIT
// The kernel's own events, as the reader gives them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "support/background.hpp"
#include "support/descriptors.hpp"
#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"
#include "uffd/message_reader.hpp"

namespace uffd {
namespace {

using test::memory;
using test::memory_kind;

// Four pages registered on a handle that hears of everything but forks.
class message_events : public testing::Test {
 protected:
  static constexpr auto heard = feature::event_remap | feature::event_remove | feature::event_unmap;

  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(heard));
    on_.emplace(handle::open({.required = heard}));
    on_->register_range(memory_.range(), register_mode::missing);
  }
  void TearDown() override {
    if (on_) static_cast<void>(on_->unregister(memory_.range()));
  }

  const memory& memory_ = test::memory_for_good(memory_kind::anonymous, 4);
  std::optional<handle> on_;
};

TEST_F(message_events, madvise_is_a_remove_event_and_waits_until_it_is_read) {
  test::background remover(
      [&] { ::madvise(memory_.bytes().data() + page_size(), 2 * page_size(), MADV_DONTNEED); });
  ASSERT_TRUE(test::readable(on_->fd()));
  EXPECT_TRUE(remover.blocks(test::waits_for_reader));
  const auto removed = test::next<remove_event>(*on_);
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->range, memory_.page(1, 2));
  EXPECT_TRUE(remover.finishes());
}

TEST_F(message_events, MADV_FREE_is_a_remove_event) {
  ASSERT_TRUE(on_->copy(memory_.begin(), test::filled(memory_.size(), 7)));
  test::background remover([&] { ::madvise(memory_.bytes().data(), memory_.size(), MADV_FREE); });
  const auto removed = test::next<remove_event>(*on_);
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->range, memory_.range());
}

TEST_F(message_events, munmap_is_an_unmap_event) {
  test::background unmapper([&] { ::munmap(memory_.bytes().data() + page_size(), page_size()); });
  const auto unmapped = test::next<unmap_event>(*on_);
  ASSERT_TRUE(unmapped);
  EXPECT_EQ(unmapped->range, memory_.page(1));
}

TEST_F(message_events, mapping_over_the_memory_is_an_unmap_event) {
  test::background overlay([&] {
    EXPECT_NE(::mmap(memory_.bytes().data(), page_size(), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
              MAP_FAILED);
  });
  const auto unmapped = test::next<unmap_event>(*on_);
  ASSERT_TRUE(unmapped);
  EXPECT_EQ(unmapped->range, memory_.page(0));
}

TEST_F(message_events, mremap_that_moves_is_a_remap_event_and_an_unmap_event) {
  const memory place(memory_kind::anonymous, 2);
  test::background mover([&] {
    ::mremap(memory_.bytes().data(), 2 * page_size(), 2 * page_size(),
             MREMAP_MAYMOVE | MREMAP_FIXED, place.bytes().data());
  });
  std::vector<event> events;
  while (events.size() < 2) {
    const auto more = test::read_events(*on_);
    ASSERT_FALSE(more.empty());
    events.insert(events.end(), more.begin(), more.end());
  }
  EXPECT_TRUE(mover.finishes());
  std::optional<remap_event> moved;
  for (const auto& one : events)
    if (const auto* remapped = std::get_if<remap_event>(&one)) moved = *remapped;
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->from, memory_.page(0, 2));
  EXPECT_EQ(moved->to, place.begin());
  // The registration moved along.
  EXPECT_TRUE(on_->copy(place.begin(), test::filled(page_size(), 7)));
  EXPECT_EQ(test::look(place.begin()), test::shows(7));
  EXPECT_TRUE(on_->unregister(place.range()));
}

// The kernel hands out the fault first, although the event happened before it must be answered.
TEST_F(message_events, event_comes_before_the_fault_that_the_kernel_gives_first) {
  test::toucher reader(memory_.at(3));
  ASSERT_TRUE(test::readable(on_->fd()));
  test::background remover([&] { ::madvise(memory_.bytes().data(), page_size(), MADV_DONTNEED); });
  ASSERT_TRUE(remover.waits_for_reader());
  message_reader from(*on_);
  {
    const auto batch = from.read();
    ASSERT_EQ(batch.size(), 2u);
    EXPECT_TRUE(std::holds_alternative<remove_event>(batch[0]));
    EXPECT_TRUE(std::holds_alternative<page_fault>(batch[1]));
  }
  EXPECT_TRUE(remover.finishes());
  EXPECT_TRUE(on_->unregister(memory_.range()));
  EXPECT_EQ(reader.saw(), test::shows(0));
}

TEST_F(message_events, fault_that_was_resolved_before_it_was_read_is_gone) {
  test::toucher reader(memory_.begin());
  ASSERT_TRUE(test::readable(on_->fd()));
  ASSERT_TRUE(on_->zeropage(memory_.page(0)));
  EXPECT_EQ(reader.saw(), test::shows(0));
  message_reader from(*on_);
  const auto batch = from.read();
  EXPECT_TRUE(batch.empty());
  EXPECT_FALSE(batch.error());
}

TEST(message_reader, of_a_moved_from_handle_is_EBADF) {
  auto on = handle::open();
  const handle taken = std::move(on);
  message_reader reader(on);  // NOLINT(bugprone-use-after-move): what it answers
  EXPECT_EQ(reader.read().error(), std::errc::bad_file_descriptor);
}

class message_events_of_forks : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::fork_events());
    on_.emplace(handle::open({.required = feature::event_fork}));
    on_->register_range(memory_.range(), register_mode::missing);
  }

  const memory memory_{memory_kind::anonymous, 1};
  std::optional<handle> on_;
};

TEST_F(message_events_of_forks, child_that_nobody_took_reads_zeroes) {
  std::optional<test::ending> end;
  test::background forker([&] {
    end = test::in_child([&] { return test::look(memory_.begin()) == test::shows(0) ? 0 : 1; });
  });
  EXPECT_TRUE(test::next<fork_event>(*on_));
  ASSERT_TRUE(forker.finishes());
  EXPECT_EQ(end, test::exits_with(0));
}

TEST_F(message_events_of_forks, leave_no_descriptor_whether_taken_or_not) {
  const auto before = test::open_descriptors();
  for (int i = 0; i < 10; ++i) {
    { const test::followed_child taken(*on_); }
    test::background forker([] { test::in_child([] {}); });
    EXPECT_TRUE(test::next<fork_event>(*on_));
  }
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST_F(message_events_of_forks, event_stays_queued_while_the_table_of_descriptors_is_full) {
  rlimit former{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &former), 0);
  // fork() holds the allocator's locks until its event is read: nothing below may allocate.
  std::vector<unique_fd> filler;
  filler.reserve(64);
  std::optional<test::ending> end;
  test::background forker([&] { end = test::in_child([] {}); });
  ASSERT_TRUE(test::readable(on_->fd()));
  const rlimit low{64, former.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  for (int more = ::dup(0); more >= 0; more = ::dup(0)) filler.emplace_back(more);
  message_reader reader(*on_);
  const auto batch = reader.read();
  filler.clear();  // before any check: sanitizers need descriptors
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &former), 0);
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.error(), std::errc::too_many_files_open);
  EXPECT_TRUE(test::next<fork_event>(*on_));
  ASSERT_TRUE(forker.finishes());
  EXPECT_EQ(end, test::exits_with(0));
}

}  // namespace
}  // namespace uffd
