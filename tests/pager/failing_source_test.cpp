// SPDX-License-Identifier: MIT
// What becomes of paged memory whose source fails, hangs, gives too little or changes underneath.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/scratch_file.hpp"
#include "support/sight.hpp"
#include "uffd/mapping.hpp"
#include "uffd/pager/file_source.hpp"
#include "uffd/pager/memory_source.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

// Two pages, of which the second can't be read alone so many times.
struct half_source {
  std::uint64_t size() const noexcept { return 2 * page; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    if (offset == page && fails->load() != 0) {
      fails->fetch_sub(1);
      return {0, source_error::transient};
    }
    for (auto& each : to) each = test::source_byte(offset++);
    return {to.size(), {}};
  }

  std::atomic<int>* fails;
};

class failing_source_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(failing_source_of);

// One that was tried in vain, and then came along with another one, has a deadline of its own the
// next time.
TEST_P(failing_source_of, has_all_the_time_again_once_a_page_was_had) {
  constexpr int always = 1 << 30;
  std::atomic<int> fails{0};
  const test::any_pager pager(GetParam());
  map_options options;
  options.writes = write_policy::keep;
  options.unit = 2 * page;
  options.deadline = std::chrono::milliseconds(2000);
  const auto memory = pager->map(half_source{&fails}, options);
  const auto shows = [&](std::size_t number) {
    return test::look_at(memory, number * page) == test::shows_source(number * page);
  };
  const auto drop = [&](std::size_t number) {
    ASSERT_EQ(::madvise(memory.writable_bytes().data() + number * page, page, MADV_DONTNEED), 0);
  };
  EXPECT_TRUE(shows(0));
  drop(1);
  fails = always;
  test::background waiting([&] { EXPECT_TRUE(shows(1)); });
  ASSERT_TRUE(test::eventually([&] { return fails < always - 3; }));
  while (!waiting.finishes(std::chrono::milliseconds(0))) {
    drop(0);
    ASSERT_TRUE(shows(0));
  }
  std::this_thread::sleep_for(options.deadline);
  drop(1);
  fails = 1;
  EXPECT_TRUE(shows(1));
  EXPECT_EQ(fails, 0);
}

// A page that was written and that somebody has dropped is no less the budget's meanwhile.
TEST_P(failing_source_of, is_asked_again_for_what_was_written) {
  std::atomic<int> fails{0};
  const memory_budget budget(1000 * page);
  pager_options shared;
  shared.budget = budget;
  const test::any_pager pager(GetParam(), shared);
  map_options options;
  options.writes = write_policy::keep;
  options.unit = page;
  options.deadline = std::chrono::milliseconds(500);
  const auto memory = pager->map(half_source{&fails}, options);
  const auto second = test::address_of(memory.bytes()[page]);
  const auto drop = [&] {
    ASSERT_EQ(::madvise(reinterpret_cast<void*>(second), page, MADV_DONTNEED), 0);
  };
  ASSERT_EQ(test::try_write(second, 7), test::shows(7));
  const auto before = budget.resident();
  drop();
  fails = 3;
  EXPECT_EQ(test::look_at(memory, page), test::shows_source(page));
  EXPECT_EQ(fails, 0);
  EXPECT_EQ(budget.resident(), before);
  ASSERT_EQ(test::try_write(second, 8), test::shows(8));
  drop();
  fails = 1 << 30;
  EXPECT_EQ(test::look_at(memory, page), test::takes_sigbus);
  EXPECT_EQ(budget.resident(), before - page);
}

TEST_P(failing_source_of, is_asked_again_but_not_all_the_time) {
  constexpr int always = 1 << 30;
  std::atomic<int> fails{always};
  const test::any_pager pager(GetParam());
  map_options options;
  options.deadline = std::chrono::milliseconds(100);
  const auto memory = pager->map(half_source{&fails}, options);
  EXPECT_EQ(test::look_at(memory, page), test::takes_sigbus);
  EXPECT_GT(always - fails, 1);
  EXPECT_LT(always - fails, 1000);
}

// A read that hangs is given up once by whoever asked, not begun again and again.
TEST_P(failing_source_of, hangs_is_told_by_prefetch_after_one_read) {
  test::kept_source source(4 * page);
  std::atomic<int> reads{0};
  std::atomic<bool> hangs{true};
  source.reading_fails = [&] {
    ++reads;
    if (hangs) std::this_thread::sleep_for(std::chrono::milliseconds(600));
    return std::error_code();
  };
  const test::any_pager pager(GetParam());
  map_options options;
  options.deadline = std::chrono::milliseconds(100);
  const auto memory = pager->map(std::ref(source), options);
  const auto asks = [&] { EXPECT_EQ(memory.prefetch(memory.bytes()), std::errc::timed_out); };
  test::background other(asks);
  asks();
  EXPECT_TRUE(other.finishes());
  EXPECT_LE(reads, 2);
  hangs = false;
  EXPECT_TRUE(test::eventually([&] { return !memory.prefetch(memory.bytes()); }))
      << "nobody has touched it";
}

// Lies in memory, one page of which can't be read.
class failing_memory_of : public test::every_pager {
 protected:
  failing_memory_of() {
    auto bytes = kept_.bytes();
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = test::source_byte(i);
    if (::mprotect(&bytes[2 * page], page, PROT_NONE) != 0) ADD_FAILURE() << "mprotect";
  }
  paged_memory map(const test::any_pager& by) const {
    map_options options;
    options.writes = write_policy::keep;
    options.unit = 4 * page;
    return by->map(memory_source(std::span<const std::byte>(kept_.bytes())), options);
  }

 private:
  mapping kept_ = mapping::anonymous(4 * page);
};
UFFDPP_FOR_EVERY_PAGER(failing_memory_of);

TEST_P(failing_memory_of, a_part_keeps_nothing_from_the_rest) {
  const test::any_pager pager(GetParam());
  const auto memory = map(pager);
  for (const std::size_t number : {0U, 1U, 3U}) {
    EXPECT_EQ(test::look_at(memory, number * page), test::shows_source(number * page)) << number;
    EXPECT_EQ(test::try_write(test::address_of(memory.bytes()[number * page]), 7), test::shows(7));
  }
  EXPECT_EQ(test::look_at(memory, 2 * page), test::takes_sigbus);
}

// Gives half of what it is asked for, and says nothing.
struct short_source {
  std::uint64_t size() const noexcept { return 4 * page; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    for (auto& each : to) each = test::source_byte(offset++);
    return {to.size() / 2, {}};
  }
};

// What touching a page, prefetch() and pin() give of one that can't be had.
void expect_failure(const paged_memory& memory, std::size_t number, std::error_code error) {
  const auto part = memory.bytes().subspan(number * page, page);
  EXPECT_EQ(memory.prefetch(part), error);
  try {
    static_cast<void>(memory.pin(part));
    ADD_FAILURE() << "pinned";
  } catch (const std::system_error& thrown) {
    EXPECT_EQ(thrown.code(), error);
  }
  EXPECT_EQ(test::look_at(memory, number * page), test::takes_sigbus);
  EXPECT_EQ(memory.prefetch(part), error) << "after it was touched, too";
}

TEST_P(failing_source_of, that_gives_too_little_is_never_shown) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(short_source());
  const auto other = pager->map(test::counted_source(page));
  expect_failure(memory, 1, make_error_code(source_error::incomplete));
  EXPECT_EQ(test::look_at(other, 0), test::shows_source(0));
}

// What came before it changed is there still; nothing of another time is shown beside it.
TEST_P(failing_source_of, that_changes_underneath_is_shown_no_more) {
  const test::scratch_file file(std::string(8 * page, 'a'));
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(file_source(file.path()));
  const auto other = pager->map(test::counted_source(page));
  ASSERT_EQ(test::look_at(memory, 0), test::shows('a'));
  file.write(std::string(8 * page, 'b'));
  // Times may be as coarse as a tick.
  std::filesystem::last_write_time(
      file.path(), std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  expect_failure(memory, 3, make_error_code(source_error::changed));
  EXPECT_EQ(test::look_at(memory, 1), test::shows('a'));
  EXPECT_EQ(test::look_at(other, 0), test::shows_source(0));
}

class failing_write_of : public test::every_pager {
 protected:
  static constexpr std::size_t pages = 512;

  static paged_memory map(const test::any_pager& by, test::kept_source& source) {
    map_options options;
    options.writes = write_policy::write_back;
    options.expected = access_pattern::random;
    return by->map(std::ref(source), options);
  }
  // An eighth fits.
  test::any_pager make_pager() const {
    pager_options how;
    how.budget = memory_budget(pages / 8 * page);
    how.threads = 2;
    return test::any_pager(GetParam(), how);
  }
  static test::sight write_to(const paged_memory& memory, std::size_t number, int value) {
    return test::try_write(test::address_of(memory.bytes()[number * page]), value);
  }
  // Everything but page 0, until it is so.
  template <class Condition>
  static void read_until(const paged_memory& memory, const Condition& condition) {
    for (std::size_t number = 1; !condition(); number = number % (pages - 1) + 1)
      ASSERT_EQ(test::look_at(memory, number * page), test::shows_source(number * page));
  }
};
UFFDPP_FOR_EVERY_PAGER(failing_write_of);

TEST_P(failing_write_of, is_tried_again_in_the_background) {
  test::kept_source source(pages * page);
  std::atomic<int> fails{3};
  source.writing_fails = [&]() -> std::error_code {
    if (fails <= 0) return {};
    --fails;
    return std::make_error_code(std::errc::no_space_on_device);
  };
  const auto pager = make_pager();
  const auto memory = map(pager, source);
  ASSERT_EQ(write_to(memory, 0, 7), test::shows(7));
  ASSERT_NO_FATAL_FAILURE(read_until(memory, [&] { return source.writes() != 0; }));
  EXPECT_EQ(source.at(0), std::byte{7});
  EXPECT_EQ(test::look_at(memory, 0), test::shows(7));
  EXPECT_EQ(memory.flush(), std::errc::no_space_on_device) << "told once";
  EXPECT_FALSE(memory.flush());
}

// A source that hangs while it is written keeps the evicting thread; the others find room.
TEST_P(failing_write_of, that_hangs_stops_nobody_else) {
  test::kept_source source(pages * page);
  test::signal begins;
  test::signal goes_on;
  std::atomic<bool> has_begun{false};
  source.writing_fails = [&]() -> std::error_code {
    if (has_begun.exchange(true)) return {};
    begins.set();
    EXPECT_TRUE(goes_on.comes());
    return {};
  };
  const auto pager = make_pager();
  const auto memory = map(pager, source);
  test::kept_source other_source(pages * page);
  const auto other = map(pager, other_source);
  ASSERT_EQ(write_to(memory, 0, 7), test::shows(7));
  ASSERT_NO_FATAL_FAILURE(
      read_until(memory, [&] { return begins.comes(std::chrono::milliseconds(0)); }));
  EXPECT_EQ(test::look_at(memory, 0), test::shows(7)) << "who only reads it does not wait";
  for (const auto* each : {&memory, &other})
    for (std::size_t number = 1; number < pages; ++number)
      ASSERT_EQ(test::look_at(*each, number * page), test::shows_source(number * page));
  EXPECT_EQ(write_to(other, 5, 8), test::shows(8));
  EXPECT_FALSE(other.flush());
  EXPECT_EQ(other_source.at(5 * page), std::byte{8});
  goes_on.set();
  EXPECT_FALSE(memory.flush());
  EXPECT_EQ(source.at(0), std::byte{7});
}

}  // namespace
}  // namespace uffd
