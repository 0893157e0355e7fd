// SPDX-License-Identifier: MIT
#include "uffd/pager/paged_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "support/page_flags.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/scratch_file.hpp"
#include "support/sight.hpp"
#include "uffd/pager/file_source.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

map_options with(write_policy writes) {
  map_options options;
  options.writes = writes;
  return options;
}

test::sight write_to(const paged_memory& memory, std::size_t offset, int value) {
  return test::try_write(test::address_of(memory.bytes()[offset]), value);
}

class paged_memory_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(paged_memory_of);

TEST_P(paged_memory_of, can_not_be_written_unless_asked_for) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(2 * page));
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.writable_bytes()); }), EROFS);
  EXPECT_EQ(write_to(memory, 0, 1), test::takes_sigsegv);
  EXPECT_EQ(test::look_at(memory, 0), test::shows_source(0));
  EXPECT_EQ(write_to(memory, 0, 1), test::takes_sigsegv);
}

TEST_P(paged_memory_of, keeps_writes_from_the_source) {
  test::kept_source source(3 * page);
  const test::any_pager pager(GetParam());
  {
    const auto memory = pager->map(std::ref(source), with(write_policy::keep));
    EXPECT_EQ(write_to(memory, 5, 1), test::shows(1));
    EXPECT_EQ(test::look_at(memory, 4), test::shows_source(4));
    EXPECT_EQ(test::look_at(memory, page), test::shows_source(page));
    EXPECT_EQ(write_to(memory, page, 2), test::shows(2));
    EXPECT_FALSE(memory.flush());
  }
  EXPECT_EQ(source.writes(), 0U);
}

TEST_P(paged_memory_of, writes_back_what_was_written_and_nothing_else) {
  test::kept_source source(100 * page + 10);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  for (const std::size_t number : {3U, 4U, 5U, 50U, 100U})
    ASSERT_EQ(write_to(memory, number * page + 9, 7), test::shows(7));
  EXPECT_FALSE(memory.flush());
  EXPECT_EQ(source.writes(), 3U) << "neighbours at once";
  EXPECT_EQ(source.flushes(), 1U);
  for (std::size_t i = 0; i < source.size(); ++i) {
    const auto number = i / page;
    const bool is_written =
        i % page == 9 && ((number >= 3 && number <= 5) || number == 50 || number == 100);
    ASSERT_EQ(source.at(i), is_written ? std::byte{7} : test::source_byte(i)) << i;
  }
}

TEST_P(paged_memory_of, writes_back_again_what_is_written_again) {
  test::kept_source source(page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  for (int value = 1; value <= 3; ++value) {
    ASSERT_EQ(write_to(memory, 0, value), test::shows(value));
    ASSERT_FALSE(memory.flush());
    ASSERT_EQ(std::to_integer<int>(source.at(0)), value);
  }
  EXPECT_FALSE(memory.flush());
  EXPECT_EQ(source.writes(), 3U) << "a clean page is not written";
}

TEST_P(paged_memory_of, writes_back_at_its_end) {
  test::kept_source source(2 * page);
  const test::any_pager pager(GetParam());
  {
    const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
    ASSERT_EQ(write_to(memory, page, 9), test::shows(9));
  }
  EXPECT_EQ(std::to_integer<int>(source.at(page)), 9);
}

TEST_P(paged_memory_of, leaves_a_file_as_long_as_it_was) {
  const test::scratch_file file(std::string(page + 5, 'a'));
  const test::any_pager pager(GetParam());
  {
    const auto memory = pager->map(file_source(file.path(), file_access::read_write),
                                   with(write_policy::write_back));
    ASSERT_EQ(write_to(memory, page + 4, 'b'), test::shows('b'));
    ASSERT_FALSE(memory.flush());
  }
  EXPECT_EQ(file.content(), std::string(page + 4, 'a') + 'b');
}

TEST_P(paged_memory_of, keeps_reports_and_writes_later_what_could_not_be_written) {
  test::kept_source source(4 * page);
  std::atomic<bool> fails{true};
  source.writing_fails = [&] {
    return fails ? std::make_error_code(std::errc::no_space_on_device) : std::error_code();
  };
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  ASSERT_EQ(write_to(memory, page, 5), test::shows(5));
  EXPECT_EQ(memory.flush(), std::errc::no_space_on_device);
  EXPECT_EQ(test::look_at(memory, page), test::shows(5));
  ASSERT_EQ(write_to(memory, page + 1, 6), test::shows(6));
  fails = false;
  EXPECT_FALSE(memory.flush());
  EXPECT_EQ(std::to_integer<int>(source.at(page)), 5);
  EXPECT_EQ(std::to_integer<int>(source.at(page + 1)), 6);
}

TEST_P(paged_memory_of, has_what_was_prefetched) {
  const test::counted_source source(100 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  ASSERT_FALSE(memory.prefetch(memory.bytes().subspan(10 * page + 1, 20 * page)));
  EXPECT_EQ(source.bytes_read(), 21 * page);
  EXPECT_EQ(test::first_wrong(memory.bytes().subspan(10 * page, 21 * page), 10 * page),
            std::nullopt);
  EXPECT_EQ(source.bytes_read(), 21 * page);
  EXPECT_EQ(memory.statistics().faults, 0U);
  EXPECT_FALSE(memory.prefetch(memory.bytes()));
  EXPECT_EQ(source.bytes_read(), source.size()) << "nothing twice";
  EXPECT_FALSE(memory.prefetch({}));
}

TEST_P(paged_memory_of, prefetches_no_other_memory) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(page));
  const std::byte other{};
  EXPECT_EQ(memory.prefetch({&other, 1}), std::errc::invalid_argument);
  EXPECT_EQ(memory.prefetch({memory.bytes().data(), page + 1}), std::errc::invalid_argument);
}

TEST_P(paged_memory_of, tells_why_a_page_could_not_be_had) {
  test::kept_source source(3 * page);
  source.reading_fails = [] { return make_error_code(source_error::gone); };
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  EXPECT_EQ(memory.prefetch(memory.bytes()), source_error::gone);
  EXPECT_EQ(test::refusal_of([&] { static_cast<void>(memory.pin(memory.bytes())); }).number,
            static_cast<int>(source_error::gone));
  EXPECT_EQ(test::look_at(memory, 0), test::takes_sigbus);
}

// What the kernel would have to fault in, and can't in every kind of pager.
TEST_P(paged_memory_of, can_be_used_by_system_calls_while_pinned) {
  test::kept_source source(4 * page);
  const test::scratch_file file(std::string(4 * page, 'z'));
  const unique_fd in(::open(file.path().c_str(), O_RDWR | O_CLOEXEC));
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  {
    const auto pinned = memory.pin(memory.bytes().subspan(page, 2 * page), pin_access::write);
    ASSERT_EQ(pinned.bytes().size(), 2 * page);
    ASSERT_EQ(::pread(in.get(), pinned.bytes().data(), 2 * page, 0),
              static_cast<ssize_t>(2 * page));
  }
  ASSERT_FALSE(memory.flush());
  for (std::size_t i = 0; i < 4 * page; ++i)
    ASSERT_EQ(source.at(i), i >= page && i < 3 * page ? std::byte{'z'} : test::source_byte(i)) << i;
  {
    const auto pinned = memory.pin(memory.bytes().first(page));
    ASSERT_EQ(::pwrite(in.get(), pinned.bytes().data(), page, 0), static_cast<ssize_t>(page));
  }
  EXPECT_EQ(static_cast<std::byte>(file.content()[page - 1]), test::source_byte(page - 1));
}

TEST_P(paged_memory_of, writes_back_what_stays_pinned_each_time) {
  test::kept_source source(page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  const auto pinned = memory.pin(memory.bytes(), pin_access::write);
  const auto before = memory.statistics().faults;
  for (int value = 1; value <= 3; ++value) {
    ASSERT_EQ(write_to(memory, 7, value), test::shows(value));
    ASSERT_FALSE(memory.flush());
    ASSERT_EQ(std::to_integer<int>(source.at(7)), value);
  }
  EXPECT_EQ(memory.statistics().faults, before) << "written without a fault";
}

TEST_P(paged_memory_of, refuses_to_pin_what_can_not_be_had) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(test::counted_source(page));
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.pin(memory.bytes(), pin_access::write)); }),
            EROFS);
  const std::byte other{};
  EXPECT_EQ(test::thrown([&] { static_cast<void>(memory.pin({&other, 1})); }), EINVAL);
}

TEST_P(paged_memory_of, can_be_moved) {
  const test::any_pager pager(GetParam());
  auto first = pager->map(test::counted_source(page));
  auto second = std::move(first);
  EXPECT_EQ(test::look_at(second, 1), test::shows_source(1));
  second = pager->map(test::counted_source(2 * page));
  EXPECT_EQ(second.bytes().size(), 2 * page);
  EXPECT_EQ(test::look_at(second, page), test::shows_source(page));
  first = std::move(second);
  EXPECT_EQ(test::look_at(first, 2), test::shows_source(2));
}

TEST_P(paged_memory_of, is_seen_as_objects) {
  test::kept_source source(2 * page + 4);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), with(write_policy::write_back));
  const auto words = memory.as<std::uint64_t>();
  ASSERT_EQ(words.size(), 2 * page / sizeof(std::uint64_t));
  EXPECT_EQ(words[1], test::source_word(8));
  memory.writable_as<std::uint64_t>()[1] = 42;
  ASSERT_FALSE(memory.flush());
  EXPECT_EQ(source.word_at(8), 42U);
}

TEST_P(paged_memory_of, reads_as_it_is_advised_to) {
  const test::counted_source source(1024 * page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source));
  memory.advise(access_pattern::random);
  for (std::size_t number = 0; number < 10; ++number)
    ASSERT_EQ(test::look_at(memory, number * page), test::shows_source(number * page));
  EXPECT_EQ(source.bytes_read(), 10 * page);
  memory.advise(access_pattern::sequential);
  ASSERT_EQ(test::look_at(memory, 512 * page), test::shows_source(512 * page));
  EXPECT_GT(source.bytes_read(), 100 * page);
}

}  // namespace
}  // namespace uffd
