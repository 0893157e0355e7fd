// SPDX-License-Identifier: MIT
// Protection from all access, Linux 7.3: faults, what the kernel resolves itself, and where the
// mark of a page goes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/pin.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/swap.hpp"
#include "support/told.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;

// Four pages of a kind, all there: 1, 2, 3, 4.
class read_write_protected : public testing::TestWithParam<test::memory_kind> {
 protected:
  static constexpr std::size_t pages = 4;
  static constexpr auto mode = register_mode::read_write_protect;

  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::rwp));
    UFFDPP_REQUIRE(test::available(GetParam(), pages, {}));
    memory_.emplace(GetParam(), pages);
    for (std::size_t i = 0; i < pages; ++i)
      std::memset(memory_->bytes().data() + i * page_size(), test::byte_of(i), page_size());
  }

  const test::memory& memory() const { return *memory_; }
  std::size_t page_size() const { return test::page_size_of(GetParam()); }
  // A handle on which all is registered and protected.
  handle protect(flags<feature> with = {}) const {
    auto on = handle::open({.required = feature::rwp | with});
    on.register_range(memory().range(), mode);
    EXPECT_TRUE(on.read_write_protect(memory().range()));
    return on;
  }
  void expect_content() const {
    for (std::size_t i = 0; i < pages; ++i)
      EXPECT_EQ(look(memory().at(i)), shows(test::byte_of(i))) << "page " << i;
  }

 private:
  std::optional<test::memory> memory_;
};
UFFDPP_ON_EVERY_KIND(read_write_protected);

TEST_P(read_write_protected, page_makes_readers_and_writers_wait_until_it_is_unprotected) {
  const auto on = protect();
  test::toucher reader(memory().at(0));
  const auto read = test::next_fault(on);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->kind(), fault_kind::read_write_protect);
  EXPECT_FALSE(read->is_write());
  EXPECT_EQ(read->address, memory().at(0));
  ASSERT_TRUE(on.read_write_unprotect(memory().page(0), wake_mode::dont_wake));
  EXPECT_TRUE(reader.waits());
  ASSERT_TRUE(on.wake(memory().page(0)));
  EXPECT_EQ(reader.saw(), shows(1));
  test::toucher writer(memory().at(1), 9);
  const auto written = test::next_fault(on);
  ASSERT_TRUE(written);
  EXPECT_EQ(written->kind(), fault_kind::read_write_protect);
  EXPECT_TRUE(written->is_write());
  ASSERT_TRUE(on.read_write_unprotect(memory().page(1)));
  EXPECT_EQ(writer.saw(), shows(9));
  ASSERT_TRUE(on.read_write_unprotect(memory().range()));
}

TEST_P(read_write_protected, page_keeps_its_bytes_while_a_handler_lets_each_access_through) {
  test::told_pages told;
  fault_handler_options options = test::one_thread();
  options.open.required = feature::rwp;
  fault_handler handler(
      [&](fault& raised) {
        EXPECT_EQ(raised.kind(), fault_kind::read_write_protect);
        told.add(raised.offset());
        const auto done = raised.on().read_write_unprotect(raised.page());
        return done ? resolution::resolved() : resolution(done.error());
      },
      options);
  const auto region = handler.serve(memory().range(), {.modes = mode, .page_size = page_size()});
  ASSERT_TRUE(handler.on().read_write_protect(memory().range()));
  for (std::size_t i = 0; i < pages; ++i)
    EXPECT_EQ(test::toucher(memory().at(i)).saw(), shows(test::byte_of(i)));
  EXPECT_EQ(told.count(), pages);
  expect_content();
}

TEST_P(read_write_protected, asynchronously_lets_all_through_without_a_message) {
  const auto on = protect(feature::rwp_async);
  expect_content();
  EXPECT_EQ(test::try_write(memory().at(1), 9), shows(9));
  EXPECT_FALSE(test::readable(on.fd(), test::moment));
}

TEST_P(read_write_protected, asynchronously_tells_by_a_scan_what_was_accessed) {
  const auto on = protect(feature::rwp_async);
  EXPECT_EQ(test::bytes_with(memory().range(), uapi::pagemap::accessed), 0u);
  for (std::size_t i = 0; i < pages / 2; ++i) static_cast<void>(look(memory().at(i)));
  const auto half = memory().page(0, pages / 2);
  EXPECT_EQ(test::bytes_with(memory().range(), uapi::pagemap::accessed), half.size());
  EXPECT_EQ(test::bytes_with(half, uapi::pagemap::accessed), half.size());
}

TEST_P(read_write_protected, stays_so_through_a_change_of_protection) {
  const auto on = protect(feature::rwp_async);
  void* const begin = memory().bytes().data();
  ASSERT_EQ(::mprotect(begin, memory().size(), PROT_NONE), 0);
  ASSERT_EQ(::mprotect(begin, memory().size(), PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(test::bytes_with(memory().range(), uapi::pagemap::accessed), 0u);
  expect_content();
  EXPECT_EQ(test::bytes_with(memory().range(), uapi::pagemap::accessed), memory().size());
}

TEST_P(read_write_protected, page_can_be_read_by_system_calls_where_it_is_asynchronous) {
  const auto on = protect(feature::rwp_async);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd reading(ends[0]);
  const unique_fd writing(ends[1]);
  const iovec one{memory().bytes().data(), 1};
  ASSERT_EQ(::vmsplice(writing.get(), &one, 1, 0), 1);
  char byte = 0;
  ASSERT_EQ(::read(reading.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 1);
}

TEST_P(read_write_protected, changes_between_asynchronous_and_not_while_running) {
  const auto on = protect(feature::rwp_async);
  EXPECT_EQ(look(memory().at(0)), shows(1));
  ASSERT_TRUE(on.set_mode({}, feature::rwp_async));
  test::toucher reader(memory().at(2));
  const auto fault = test::next_fault(on);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind(), fault_kind::read_write_protect);
  ASSERT_TRUE(on.read_write_unprotect(memory().page(2)));
  EXPECT_EQ(reader.saw(), shows(3));
  ASSERT_TRUE(on.set_mode(feature::rwp_async, {}));
  EXPECT_EQ(look(memory().at(3)), shows(4));
  EXPECT_FALSE(test::readable(on.fd(), test::moment));
}

TEST_P(read_write_protected, ends_with_the_handle) {
  std::optional<handle> on(protect());
  on.reset();
  expect_content();
}

TEST_P(read_write_protected, ends_with_the_registration_and_wakes_who_waits) {
  const auto on = protect();
  test::toucher reader(memory().at(1));
  ASSERT_TRUE(test::next_fault(on));
  EXPECT_TRUE(on.unregister(memory().range()));
  EXPECT_EQ(reader.saw(), shows(2));
  expect_content();
}

TEST_P(read_write_protected, is_inherited_by_followed_children) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = protect(feature::event_fork | feature::rwp_async);
  test::followed_child child(on, [this] { return test::is_marked(memory().at(1)) ? 0 : 1; });
  EXPECT_EQ(child.process().wait(), test::exits_with(0));
  EXPECT_TRUE(test::is_marked(memory().at(1)));
}

TEST_P(read_write_protected, excludes_write_protection) {
  const auto on =
      handle::open({.required = feature::rwp,
                    .optional = test::features_of(GetParam(), register_mode::write_protect)});
  EXPECT_EQ(test::thrown(
                [&] { on.register_range(memory().range(), mode | register_mode::write_protect); }),
            EINVAL);
}

TEST_P(read_write_protected, range_is_all_registered_or_nothing_is_protected) {
  const auto on = handle::open({.required = feature::rwp});
  on.register_range(memory().page(0, 2), mode);
  EXPECT_EQ(on.read_write_protect(memory().range()).error(), condition::not_registered);
  EXPECT_EQ(look(memory().at(0)), shows(1)) << "no half of it either";
}

class read_write_protected_anonymous : public read_write_protected {};
UFFDPP_ON_KINDS(read_write_protected_anonymous, (std::array{test::memory_kind::anonymous}));

// fork() copies a pinned page itself.
TEST_P(read_write_protected_anonymous, is_inherited_by_followed_children_on_pinned_pages_too) {
  UFFDPP_REQUIRE(test::fork_events());
  const test::pin pinned(memory().page(0));
  UFFDPP_REQUIRE(pinned.lacking());
  const auto on = protect(feature::event_fork | feature::rwp_async);
  test::followed_child child(on, [this] {
    if (!test::is_marked(memory().at(0))) return 1;
    if (look(memory().at(0)) != shows(1)) return 2;
    return test::is_marked(memory().at(0)) ? 3 : 0;
  });
  EXPECT_EQ(child.process().wait(), test::exits_with(0));
}

TEST_P(read_write_protected_anonymous, page_that_was_swapped_out_and_is_shared_by_fork_faults_too) {
  UFFDPP_REQUIRE(test::swap_space());
  const auto on = protect();
  ASSERT_EQ(::madvise(memory().bytes().data(), memory().size(), MADV_PAGEOUT), 0);
  UFFDPP_REQUIRE(test::bytes_with(memory().page(0), uapi::pagemap::swapped) != 0
                     ? ""
                     : "the page was not swapped out");
  ASSERT_EQ(test::in_child([] {}), test::exits_with(0));
  test::toucher writer(memory().at(0), 9);
  const auto fault = test::next_fault(on);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind(), fault_kind::read_write_protect);
  ASSERT_TRUE(on.read_write_unprotect(memory().range()));
  EXPECT_EQ(writer.saw(), shows(9));
}

}  // namespace
}  // namespace uffd
