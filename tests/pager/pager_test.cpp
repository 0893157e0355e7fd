// SPDX-License-Identifier: MIT
#include "uffd/pager/pager.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/forked.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch_file.hpp"
#include "support/sight.hpp"
#include "uffd/pager/file_source.hpp"
#include "uffd/pager/memory_source.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

class pager_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(pager_of);

TEST_P(pager_of, shows_every_byte_of_a_source) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(64 * page));
  ASSERT_EQ(memory.bytes().size(), 64 * page);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST_P(pager_of, shows_every_byte_of_a_file_and_zeroes_behind_its_end) {
  std::string content(3 * page + 100, '\0');
  for (std::size_t i = 0; i < content.size(); ++i)
    content[i] = std::to_integer<char>(test::source_byte(i));
  const test::scratch_file file(content);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(file_source(file.path()));
  ASSERT_EQ(memory.bytes().size(), content.size());
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  for (auto offset = content.size(); offset < 4 * page; ++offset)
    ASSERT_EQ(test::look_at(memory, offset), test::shows(0)) << offset;
}

TEST_P(pager_of, shows_every_byte_of_memory) {
  std::vector<std::byte> source(5 * page + 1);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = test::source_byte(i);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(memory_source(std::span<const std::byte>(source)));
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST_P(pager_of, reads_only_what_is_touched_at_random) {
  const test::counted_source source(1000 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  for (const std::size_t number : {500U, 20U, 999U, 0U, 700U})
    ASSERT_EQ(test::look_at(memory, number * page), test::shows_source(number * page));
  EXPECT_EQ(source.bytes_read(), 5 * page);
}

TEST_P(pager_of, reads_ahead_of_who_goes_on) {
  const test::counted_source source(1024 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_EQ(source.bytes_read(), source.size());
  EXPECT_LT(source.reads(), 20U);
}

// It reads ahead into a buffer of the handler's.
TEST(pager, of_a_handler_with_small_buffers_reads_no_more_than_they_hold) {
  fault_handler_options how;
  how.forks = fork_policy::not_inherited;
  how.buffer_size = 4 * page;
  fault_handler handler([](fault&) -> resolution { return std::errc::invalid_argument; }, how);
  const pager pager(handler, {.budget = memory_budget(std::size_t{1} << 30)});
  map_options in_order;
  in_order.expected = access_pattern::sequential;
  const auto memory = pager.map(test::counted_source(std::size_t{32} << 20), in_order);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST_P(pager_of, reads_a_unit_at_once) {
  const test::counted_source source(64 * page);
  const test::any_pager pager(GetParam());
  map_options options;
  options.unit = 8 * page;
  const auto memory = pager->map(std::ref(source), options);
  EXPECT_EQ(test::look_at(memory, 13 * page), test::shows_source(13 * page));
  EXPECT_EQ(source.bytes_read(), 8 * page);
  EXPECT_EQ(test::first_wrong(memory.bytes().subspan(8 * page, 8 * page), 8 * page), std::nullopt);
  EXPECT_EQ(source.reads(), 1U);
}

TEST_P(pager_of, fills_a_page_once_for_all_threads) {
  const test::counted_source source(256 * page);
  const test::any_pager pager(GetParam());
  map_options options;
  options.expected = access_pattern::random;
  const auto memory = pager->map(std::ref(source), options);
  std::vector<std::jthread> threads;
  std::atomic<bool> is_right{true};
  for (int each = 0; each < 4; ++each)
    threads.emplace_back([&] {
      if (test::first_wrong(memory.bytes())) is_right = false;
    });
  threads.clear();
  EXPECT_TRUE(is_right);
  EXPECT_EQ(source.bytes_read(), source.size());
}

TEST_P(pager_of, serves_many_mappings_with_options_of_their_own) {
  const test::any_pager pager(GetParam());
  std::vector<paged_memory> mappings;
  for (std::size_t i = 1; i <= 300; ++i) {
    map_options options;
    options.writes = i % 2 == 0 ? write_policy::keep : write_policy::none;
    mappings.push_back(pager->map(test::counted_source(i * 100), options));
  }
  for (const auto& memory : mappings) ASSERT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST_P(pager_of, may_end_before_its_mappings) {
  if (GetParam() == test::pager_kind::shared_handler) GTEST_SKIP() << "its handler may not";
  std::optional<test::any_pager> pager(GetParam());
  const auto memory = (*pager)->map(test::counted_source(3 * page));
  pager.reset();
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST_P(pager_of, gives_sigbus_where_a_source_fails) {
  test::kept_source source(4 * page);
  std::atomic<bool> fails{true};
  source.reading_fails = [&] {
    return fails ? std::make_error_code(std::errc::io_error) : std::error_code();
  };
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  EXPECT_EQ(test::look_at(memory, page), test::takes_sigbus);
  EXPECT_EQ(memory.prefetch(memory.bytes().subspan(page, 1)),
            std::make_error_code(std::errc::io_error));
  fails = false;
  EXPECT_EQ(test::look_at(memory, page), test::takes_sigbus) << "once failed, never shown";
  EXPECT_EQ(test::look_at(memory, 2 * page), test::shows_source(2 * page));
}

TEST_P(pager_of, tries_again_where_an_error_passes) {
  test::kept_source source(2 * page);
  std::atomic<int> left{3};
  source.reading_fails = [&]() -> std::error_code {
    return left-- > 0 ? make_error_code(source_error::transient) : std::error_code();
  };
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  EXPECT_EQ(test::look_at(memory, 0), test::shows_source(0));
}

TEST_P(pager_of, gives_up_at_its_deadline) {
  test::kept_source source(2 * page);
  source.reading_fails = [] { return make_error_code(source_error::transient); };
  const test::any_pager pager(GetParam());
  map_options options;
  options.deadline = std::chrono::milliseconds(20);
  const auto memory = pager->map(std::ref(source), options);
  EXPECT_EQ(test::look_at(memory, 0), test::takes_sigbus);
  EXPECT_EQ(memory.prefetch(memory.bytes().subspan(page)), source_error::transient);
}

// The thread that called the source stays in there; whoever waits for the page does not.
TEST_P(pager_of, gives_up_a_source_that_hangs) {
  if (GetParam() == test::pager_kind::in_thread) GTEST_SKIP() << "the thread that waits hangs";
  test::kept_source source(8 * page);
  test::signal goes_on;
  std::atomic<int> reads{0};
  source.reading_fails = [&] {
    if (reads.fetch_add(1) == 0) {
      EXPECT_TRUE(goes_on.comes());
    }
    return std::error_code();
  };
  pager_options how;
  how.threads = 2;
  const test::any_pager pager(GetParam(), how);
  map_options options;
  options.deadline = std::chrono::milliseconds(50);
  options.unit = 4 * page;
  const auto memory = pager->map(std::ref(source), options);
  EXPECT_EQ(test::look_at(memory, page), test::takes_sigbus);
  EXPECT_EQ(memory.prefetch(memory.bytes().subspan(page, 1)), std::errc::timed_out);
  EXPECT_EQ(test::look_at(memory, 0), test::shows_source(0)) << "a neighbour is read again";
  EXPECT_EQ(test::look_at(memory, 5 * page), test::shows_source(5 * page));
  goes_on.set();
  EXPECT_EQ(test::look_at(memory, page), test::takes_sigbus);
}

TEST_P(pager_of, gives_up_what_is_prefetched_from_a_source_that_hangs) {
  test::kept_source source(2 * page);
  test::signal goes_on;
  std::atomic<int> reads{0};
  source.reading_fails = [&] {
    if (reads.fetch_add(1) == 0) {
      EXPECT_TRUE(goes_on.comes());
    }
    return std::error_code();
  };
  const test::any_pager pager(GetParam());
  map_options options;
  options.deadline = std::chrono::milliseconds(50);
  const auto memory = pager->map(std::ref(source), options);
  std::jthread prefetching([&] { EXPECT_FALSE(memory.prefetch(memory.bytes())); });
  ASSERT_TRUE(test::eventually([&] { return reads != 0; }));
  EXPECT_EQ(test::look_at(memory, 0), test::shows_source(0)) << "who touches it reads it himself";
  goes_on.set();
}

// Only the part of a window that can't be read is lost.
TEST_P(pager_of, shows_what_can_be_read_before_what_can_not) {
  std::string content(8 * page, 'x');
  const test::scratch_file file(content);
  file_source source(file.path(), file_access::read_write);
  ASSERT_EQ(::truncate(file.path().c_str(), static_cast<off_t>(4 * page)), 0);
  const test::any_pager pager(GetParam());
  map_options options;
  options.unit = 8 * page;
  const auto memory = pager->map(std::move(source), options);
  EXPECT_EQ(test::look_at(memory, 3 * page), test::shows('x'));
  EXPECT_EQ(test::look_at(memory, 5 * page), test::takes_sigbus);
  EXPECT_EQ(test::look_at(memory, 0), test::shows('x'));
}

TEST_P(pager_of, brings_back_what_others_have_dropped) {
  const test::counted_source source(2 * page);
  const test::any_pager pager(GetParam());
  map_options options;
  options.writes = write_policy::keep;
  const auto memory = pager->map(std::ref(source), options);
  const auto bytes = memory.writable_bytes();
  ASSERT_EQ(test::look_at(memory, 0), test::shows_source(0));
  ASSERT_EQ(::madvise(bytes.data(), page, MADV_DONTNEED), 0);
  EXPECT_EQ(test::look_at(memory, 0), test::shows_source(0));
  ASSERT_EQ(test::try_write(test::address_of(bytes[0]), 7), test::shows(7));
  ASSERT_EQ(::madvise(bytes.data(), page, MADV_DONTNEED), 0);
  EXPECT_EQ(test::look_at(memory, 0), test::shows_source(0));
  EXPECT_EQ(test::try_write(test::address_of(bytes[0]), 8), test::shows(8));
}

TEST_P(pager_of, writes_nothing_back_that_others_have_dropped) {
  test::kept_source source(4 * page);
  const test::any_pager pager(GetParam());
  map_options options;
  options.writes = write_policy::write_back;
  const auto memory = pager->map(std::ref(source), options);
  for (std::size_t number = 0; number < 4; ++number)
    ASSERT_EQ(test::try_write(test::address_of(memory.bytes()[number * page]), 100),
              test::shows(100));
  ASSERT_EQ(::madvise(memory.writable_bytes().data() + page, 2 * page, MADV_DONTNEED), 0);
  EXPECT_FALSE(memory.flush());
  for (const std::size_t number : {0U, 3U}) EXPECT_EQ(source.at(number * page), std::byte{100});
  for (const std::size_t number : {1U, 2U}) {
    EXPECT_EQ(source.at(number * page), test::source_byte(number * page));
    EXPECT_EQ(test::look_at(memory, number * page), test::shows_source(number * page));
  }
}

TEST_P(pager_of, is_not_inherited) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(page));
  EXPECT_EQ(test::in_child([&] { test::read_byte(test::address_of(memory.bytes()[0])); }),
            test::dies_of(SIGSEGV));
  EXPECT_EQ(test::look_at(memory, 0), test::shows_source(0));
}

TEST_P(pager_of, may_end_in_a_child_where_it_does_not_exist) {
  test::kept_source source(2 * page);
  std::optional<test::any_pager> pager(std::in_place, GetParam(), [] {
    pager_options options;
    options.budget = memory_budget(1000 * page);
    return options;
  }());
  map_options options;
  options.writes = write_policy::write_back;
  std::optional<paged_memory> memory((*pager)->map(std::ref(source), options));
  ASSERT_EQ(test::try_write(test::address_of(memory->bytes()[0]), 1), test::shows(1));
  EXPECT_EQ(test::in_child([&] {
              memory.reset();
              pager.reset();
              return source.writes() == 0 ? 0 : 1;
            }),
            test::exits_with(0));
  EXPECT_FALSE(memory->flush());
  EXPECT_EQ(source.writes(), 1U);
}

TEST_P(pager_of, refuses_what_can_not_be_mapped) {
  const test::any_pager pager(GetParam());
  const auto refusal = [&](std::uint64_t bytes, const map_options& options) {
    return test::thrown(
        [&] { static_cast<void>(pager->map(test::counted_source(bytes), options)); });
  };
  EXPECT_EQ(refusal(0, {}), EINVAL);
  EXPECT_EQ(refusal(std::uint64_t{1} << 60, {}), ENOMEM);
  map_options options;
  options.writes = write_policy::write_back;
  EXPECT_EQ(refusal(page, options), EROFS);
}

TEST(pager, reads_no_more_at_once_than_a_shared_handler_has_room_for) {
  fault_handler_options how;
  how.buffer_size = 2 * page;
  fault_handler handler([](fault&) -> resolution { return std::errc::invalid_argument; }, how);
  const pager pager(handler);
  map_options options;
  options.unit = 8 * page;
  options.expected = access_pattern::sequential;
  const auto memory = pager.map(test::counted_source(64 * page), options);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
}

TEST(pager, refuses_a_budget_without_room) {
  pager_options options;
  options.budget = memory_budget(8 * page);
  EXPECT_EQ(test::thrown([&] { const pager refused(options); }), EINVAL);
  EXPECT_EQ(test::thrown([&] { const pager refused(async_signal_safe, options); }), EINVAL);
}

// What it costs is what is touched.
TEST_P(pager_of, maps_a_terabyte) {
  if (test::thread_sanitizer) GTEST_SKIP() << "ThreadSanitizer may have no room for as much";
  const test::any_pager pager(GetParam());
  const auto size = std::uint64_t{1} << 40;
  const auto memory = pager->map(test::counted_source(size));
  for (const std::uint64_t offset : {std::uint64_t{0}, size / 3, size - 1})
    ASSERT_EQ(test::look_at(memory, offset), test::shows_source(offset));
}

}  // namespace
}  // namespace uffd
