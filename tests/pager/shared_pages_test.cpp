// SPDX-License-Identifier: MIT
#include "uffd/pager/shared_pages.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "pager/sharing_message.hpp"
#include "support/awaited.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/sanitizers.hpp"
#include "support/sharing.hpp"
#include "support/sockets.hpp"
#include "support/toucher.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

class shared_pages_of : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  }
};

TEST_F(shared_pages_of, another_process_are_those_of_its_source) {
  if (test::thread_sanitizer) GTEST_SKIP() << "it takes a child's threads for the parent's";
  test::connected_sockets ends;
  test::forked reader([&] {
    ends.one.reset();
    const shared_pages pages(std::move(ends.other));
    return test::first_wrong(pages.bytes()) ? 1 : 0;
  });
  const pager pager;
  const auto memory = pager.map(test::counted_source(300 * page), test::to_be_shared);
  const auto serving = memory.share(std::move(ends.one));
  EXPECT_EQ(reader.wait(), test::exits_with(0));
}

TEST_F(shared_pages_of, nobody_can_be_written) {
  const pager pager;
  const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
  const auto both = test::show_here(memory);
  for (const auto* each : {both.pages.bytes().data(), memory.bytes().data()}) {
    const auto address = reinterpret_cast<std::uintptr_t>(each);
    EXPECT_EQ(test::try_write(address, 1), test::takes_sigsegv);
    ASSERT_EQ(test::look(address), test::shows_source(0));
    EXPECT_EQ(test::try_write(address, 1), test::takes_sigsegv);
    EXPECT_EQ(test::look(address), test::shows_source(0));
  }
}

TEST_F(shared_pages_of, are_inaccessible_once_they_are_not_served) {
  const pager pager;
  const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
  auto both = test::show_here(memory);
  const auto first = test::address_of(both.pages.bytes()[0]);
  ASSERT_EQ(test::look(first), test::shows_source(0));
  EXPECT_FALSE(both.pages.is_over());
  { const page_sharing ended = std::move(both.serving); }
  EXPECT_TRUE(test::eventually([&] { return both.pages.is_over(); }));
  EXPECT_EQ(test::look(first), test::takes_sigsegv) << "it may leave at any time";
  EXPECT_EQ(test::look(first + page), test::takes_sigsegv);
  EXPECT_EQ(test::look_at(memory, page), test::shows_source(page)) << "here it goes on";
}

// A source that gives nothing until it may.
struct slow_source {
  std::uint64_t size() const noexcept { return 8 * page; }
  read_result read(std::uint64_t /*offset*/, std::span<std::byte> /*to*/) const noexcept {
    for (;;) ::pause();
  }
};

TEST_F(shared_pages_of, a_killed_process_are_inaccessible_for_those_who_wait_too) {
  if (test::thread_sanitizer) GTEST_SKIP() << "it takes a child's threads for the parent's";
  test::connected_sockets ends;
  test::forked owner([&] {
    ends.other.reset();
    const pager pager;
    const auto memory = pager.map(slow_source(), test::to_be_shared);
    const auto serving = memory.share(std::move(ends.one));
    ::pause();
    return 0;
  });
  ends.one.reset();
  const shared_pages pages(std::move(ends.other));
  test::toucher reader(test::address_of(pages.bytes()[0]));
  EXPECT_TRUE(reader.waits());
  owner.kill();
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
  EXPECT_TRUE(test::eventually([&] { return pages.is_over(); }));
}

TEST_F(shared_pages_of, a_process_are_not_inherited_by_children) {
  const pager pager;
  const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
  std::optional both(test::show_here(memory));
  const auto first = test::address_of(both->pages.bytes()[0]);
  ASSERT_EQ(test::look(first), test::shows_source(0));
  EXPECT_EQ(test::in_child([&] { return std::to_integer<int>(test::read_byte(first)); }),
            test::dies_of(SIGSEGV));
  EXPECT_EQ(test::in_child([&] { both.reset(); }), test::exits_with(0));
  EXPECT_FALSE(both->pages.is_over());
  EXPECT_EQ(test::look(first + page), test::shows_source(page));
}

TEST_F(shared_pages_of, a_process_that_has_forked_are_inaccessible_once_they_are_not_served) {
  const pager pager;
  const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
  auto both = test::show_here(memory);
  const test::forked child([] { ::pause(); });
  { const page_sharing ended = std::move(both.serving); }
  EXPECT_TRUE(test::eventually([&] { return both.pages.is_over(); })) << "it has the socket, too";
}

TEST_F(shared_pages_of, a_process_that_has_forked_end_for_whoever_serves_them) {
  const pager pager;
  const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
  auto both = test::show_here(memory);
  const test::forked child([] { ::pause(); });
  { const shared_pages ended = std::move(both.pages); }
  EXPECT_TRUE(test::eventually([&] { return both.serving.is_over(); }));
}

// Which fills memory when it is mapped.
TEST_F(shared_pages_of, a_process_that_locks_its_memory_are_asked_for_all_the_same) {
  if (test::address_sanitizer || test::thread_sanitizer) GTEST_SKIP() << "it has too much memory";
  const auto right_ones = [] {
    if (::mlockall(MCL_FUTURE) != 0) return 77;
    const pager pager;
    for (const auto& how : {map_options(), test::to_be_shared})
      if (test::first_wrong(pager.map(test::counted_source(8 * page), how).bytes())) return 1;
    const auto memory = pager.map(test::counted_source(8 * page), test::to_be_shared);
    const auto both = test::show_here(memory);
    return test::first_wrong(both.pages.bytes()) ? 2 : 0;
  };
  const auto end = test::in_child(right_ones);
  if (end == test::exits_with(77) || end == test::exits_with(99))
    GTEST_SKIP() << "so much memory can't be locked (RLIMIT_MEMLOCK)";
  EXPECT_EQ(end, test::exits_with(0));
}

class shared_pages_refuse : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!test::has_minor_faults()) GTEST_SKIP() << "kernel lacks UFFD_FEATURE_MINOR_SHMEM";
  }

  // The errno with which it is refused when that is sent, and the connection closed.
  static int refusal(std::span<const std::byte> sent, const std::vector<int>& descriptors) {
    test::connected_sockets ends(GetParam());
    EXPECT_TRUE(test::send_bytes(ends.one.get(), sent, descriptors));
    ends.one.reset();
    const auto before = test::open_descriptors();
    const int number = test::thrown([&] { const shared_pages refused(std::move(ends.other)); });
    EXPECT_EQ(test::open_descriptors(), before - 1) << "the socket is closed, and all else";
    return number;
  }
  std::array<std::byte, detail::sharing_message_size> message_{
      encode(detail::sharing_message{8 * page, page})};
  const mapping memory_ = mapping::shared(8 * page);
};
INSTANTIATE_TEST_SUITE_P(sockets, shared_pages_refuse, test::both_sockets, test::socket_name);

TEST_P(shared_pages_refuse, what_is_cut_off) {
  const auto cut = std::span(message_).first(31);
  EXPECT_EQ(refusal(cut, {memory_.file()}), GetParam() == SOCK_STREAM ? ECONNRESET : EBADMSG);
}

TEST_P(shared_pages_refuse, what_has_another_number_of_descriptors) {
  EXPECT_EQ(refusal(message_, {}), EBADMSG);
  EXPECT_EQ(refusal(message_, {memory_.file(), memory_.file()}), EBADMSG);
}

TEST_P(shared_pages_refuse, other_messages_versions_and_page_sizes) {
  for (const std::size_t changed : {0U, 8U, 24U}) {
    message_[changed] ^= std::byte{1};
    EXPECT_EQ(refusal(message_, {memory_.file()}), EBADMSG) << changed;
    message_[changed] ^= std::byte{1};
  }
}

TEST_P(shared_pages_refuse, a_file_that_is_too_small_and_none_at_all) {
  message_ = encode(detail::sharing_message{8 * page + 1, page});
  EXPECT_EQ(refusal(message_, {memory_.file()}), EBADMSG);
  message_ = encode(detail::sharing_message{0, page});
  EXPECT_EQ(refusal(message_, {memory_.file()}), EBADMSG);
}

TEST_P(shared_pages_refuse, to_wait_for_ever) {
  test::connected_sockets ends(GetParam());
  EXPECT_EQ(test::thrown([&] {
              const shared_pages refused(std::move(ends.other),
                                         {.time_limit = std::chrono::milliseconds(20)});
            }),
            ETIMEDOUT);
}

}  // namespace
}  // namespace uffd
