// SPDX-License-Identifier: MIT
// No write to paged memory is lost, however it is made: by threads that race with pages that come,
// go and are written back, through pins, and by the kernel on behalf of read(2).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/requires.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch_file.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();
constexpr std::size_t pages = 512;
constexpr std::size_t budgeted_pages = 128;

map_options written_back() {
  map_options options;
  options.writes = write_policy::write_back;
  return options;
}

// A quarter of the source fits.
pager_options little_memory() {
  pager_options options;
  options.budget = memory_budget(budgeted_pages * page);
  options.threads = 2;
  return options;
}

// Counters in paged memory: in each page one for each thread, and one that all share.
class counting {
 public:
  static constexpr std::size_t threads = 4;

  explicit counting(std::span<std::uint64_t> words)
      : words_(words), counts_((threads + 1) * pages) {}

  // By all threads at once, so many increments in all: some on a page, then on another one.
  void count(std::uint64_t increments, std::uint64_t seed) {
    std::vector<std::jthread> running;
    for (std::size_t each = 0; each < threads; ++each)
      running.emplace_back([=, this] { count_alone(each, increments / threads, seed + each); });
  }

  // That the source has as many.
  void check(const test::kept_source& source) const {
    for (std::size_t number = 0; number < pages; ++number)
      for (std::size_t which = 0; which <= threads; ++which) {
        const auto offset = number * page + which * sizeof(std::uint64_t);
        ASSERT_EQ(source.word_at(offset) - test::source_word(offset), at(number, which))
            << "page " << number << ", counter " << which;
      }
  }

 private:
  static constexpr std::uint64_t at_once = 16;

  std::uint64_t at(std::size_t number, std::size_t which) const {
    return counts_[number * (threads + 1) + which].load();
  }
  void count_alone(std::size_t own, std::uint64_t left, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    while (left != 0) {
      const auto number = random() % pages;
      const auto which = random() % 4 == 0 ? threads : own;
      auto& word = words_[number * (page / sizeof(std::uint64_t)) + which];
      const auto some = std::min(left, 1 + random() % (2 * at_once));
      for (std::uint64_t i = 0; i < some; ++i)
        std::atomic_ref(word).fetch_add(1, std::memory_order_relaxed);
      counts_[number * (threads + 1) + which].fetch_add(some);
      left -= some;
    }
  }

  std::span<std::uint64_t> words_;
  std::vector<std::atomic<std::uint64_t>> counts_;
};

class pager_writes_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(pager_writes_of);

TEST_P(pager_writes_of, loses_none_of_a_million) {
  constexpr bool is_slow = test::thread_sanitizer || test::address_sanitizer;
  constexpr std::uint64_t increments = is_slow ? 100'000 : 1'000'000;
  test::kept_source source(pages * page);
  const test::any_pager pager(GetParam(), little_memory());
  std::optional<paged_memory> memory(pager->map(std::ref(source), written_back()));
  counting all(memory->writable_as<std::uint64_t>());
  all.count(increments / 2, 1);
  ASSERT_FALSE(memory->flush());
  ASSERT_NO_FATAL_FAILURE(all.check(source)) << "after flush()";
  all.count(increments / 2, 100);
  EXPECT_GT(memory->statistics().pages_evicted, pages);
  EXPECT_GT(memory->statistics().pages_written, pages);
  memory.reset();
  ASSERT_NO_FATAL_FAILURE(all.check(source)) << "after the end";
}

TEST_P(pager_writes_of, loses_none_while_others_flush) {
  test::kept_source source(pages * page);
  const test::any_pager pager(GetParam(), little_memory());
  std::optional<paged_memory> memory(pager->map(std::ref(source), written_back()));
  counting all(memory->writable_as<std::uint64_t>());
  {
    const std::jthread flushing([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) EXPECT_FALSE(memory->flush());
    });
    all.count(test::thread_sanitizer ? 20'000 : 100'000, 1);
  }
  ASSERT_FALSE(memory->flush());
  ASSERT_NO_FATAL_FAILURE(all.check(source));
}

// What is pinned to be written is written without a fault, by several who pin the same pages at
// once and let go again, while the rest of the memory pushes out what it can.
TEST_P(pager_writes_of, through_pins_are_not_lost) {
  test::kept_source source(pages * page);
  const test::any_pager pager(GetParam(), little_memory());
  std::optional<paged_memory> memory(pager->map(std::ref(source), written_back()));
  const auto words = memory->writable_as<std::uint64_t>();
  constexpr std::size_t threads = 2;
  constexpr int rounds = 500;
  std::vector<std::vector<std::uint64_t>> counts(threads, std::vector<std::uint64_t>(pages));
  {
    const std::jthread flushing([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) EXPECT_FALSE(memory->flush());
    });
    std::vector<std::jthread> running;
    for (std::size_t each = 0; each < threads; ++each)
      running.emplace_back([&, each] {
        std::mt19937_64 random(each);
        for (int round = 0; round < rounds; ++round) {
          // Close together, so that pins overlap.
          const auto first = random() % 16;
          const auto pinned =
              memory->pin(memory->bytes().subspan(first * page, 4 * page), pin_access::write);
          for (auto number = first; number < first + 4; ++number) {
            ++words[number * (page / sizeof(std::uint64_t)) + each];
            ++counts[each][number];
          }
          for (int i = 0; i < 8; ++i)
            static_cast<void>(test::look_at(*memory, (16 + random() % (pages - 16)) * page + 4000));
        }
      });
    running.clear();
  }
  memory.reset();
  for (std::size_t each = 0; each < threads; ++each)
    for (std::size_t number = 0; number < pages; ++number) {
      const auto offset = number * page + each * sizeof(std::uint64_t);
      ASSERT_EQ(source.word_at(offset) - test::source_word(offset), counts[each][number])
          << "thread " << each << ", page " << number;
    }
}

// Reads `size` bytes of 'z' from `file` into each part of the memory, one after the other, so that
// what is read into is evicted soon after; then all of the source must be of them.
template <class Read>
void fill_all(const paged_memory& memory, const Read& read_into) {
  constexpr std::size_t at_once = 8;
  for (std::size_t first = 0; first < pages; first += at_once)
    ASSERT_NO_FATAL_FAILURE(read_into(memory.bytes().subspan(first * page, at_once * page)));
}
void check_all(const test::kept_source& source) {
  for (std::size_t offset = 0; offset < source.size(); offset += 8)
    ASSERT_EQ(source.word_at(offset), 0x7a7a7a7a7a7a7a7a) << offset;
}

TEST_P(pager_writes_of, by_read_of_a_pipe_into_what_is_pinned_are_not_lost) {
  test::kept_source source(pages * page);
  const test::any_pager pager(GetParam(), little_memory());
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd reading(ends[0]);
  const unique_fd writing(ends[1]);
  {
    const auto memory = pager->map(std::ref(source), written_back());
    fill_all(memory, [&](std::span<const std::byte> part) {
      const std::string content(part.size(), 'z');
      ASSERT_EQ(::write(writing.get(), content.data(), content.size()),
                static_cast<ssize_t>(content.size()));
      const auto pinned = memory.pin(part, pin_access::write);
      ASSERT_EQ(::read(reading.get(), pinned.bytes().data(), part.size()),
                static_cast<ssize_t>(part.size()));
    });
  }
  check_all(source);
}

TEST_P(pager_writes_of, past_the_page_cache_into_what_is_pinned_are_not_lost) {
  const test::scratch_file file(std::string(8 * page, 'z'));
  const unique_fd direct(::open(file.path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  if (!direct) GTEST_SKIP() << "no O_DIRECT in " << file.path() << ": " << std::strerror(errno);
  // Some file systems say so only here.
  const std::unique_ptr<void, decltype(&std::free)> aligned(std::aligned_alloc(page, page),
                                                            &std::free);
  if (::pread(direct.get(), aligned.get(), page, 0) != static_cast<ssize_t>(page))
    GTEST_SKIP() << "O_DIRECT can't be read with: " << std::strerror(errno);
  test::kept_source source(pages * page);
  const test::any_pager pager(GetParam(), little_memory());
  {
    const auto memory = pager->map(std::ref(source), written_back());
    fill_all(memory, [&](std::span<const std::byte> part) {
      const auto pinned = memory.pin(part, pin_access::write);
      ASSERT_EQ(::pread(direct.get(), pinned.bytes().data(), part.size(), 0),
                static_cast<ssize_t>(part.size()))
          << std::strerror(errno);
    });
  }
  check_all(source);
}

TEST_P(pager_writes_of, by_read_into_what_is_not_pinned_are_not_lost) {
  if (GetParam() == test::pager_kind::in_thread) GTEST_SKIP() << "it serves no kernel faults";
  UFFDPP_REQUIRE(test::kernel_faults());
  const test::scratch_file file(std::string(8 * page, 'z'));
  const unique_fd in(::open(file.path().c_str(), O_RDONLY | O_CLOEXEC));
  test::kept_source source(pages * page);
  const test::any_pager pager(GetParam(), little_memory());
  {
    const auto memory = pager->map(std::ref(source), written_back());
    const auto all = memory.writable_bytes();
    fill_all(memory, [&](std::span<const std::byte> part) {
      const auto offset = static_cast<std::size_t>(part.data() - all.data());
      ASSERT_EQ(::pread(in.get(), &all[offset], part.size(), 0), static_cast<ssize_t>(part.size()))
          << std::strerror(errno);
    });
  }
  check_all(source);
}

// A system call that meets a page which isn't there says so, and nothing is half done behind the
// pager's back.
TEST(pager_in_thread, refuses_read_into_what_is_not_there) {
  const test::scratch_file file(std::string(page, 'z'));
  const unique_fd in(::open(file.path().c_str(), O_RDONLY | O_CLOEXEC));
  test::kept_source source(page);
  const test::any_pager pager(test::pager_kind::in_thread);
  const auto memory = pager->map(std::ref(source), written_back());
  EXPECT_EQ(::pread(in.get(), memory.writable_bytes().data(), page, 0), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_FALSE(memory.flush());
  EXPECT_EQ(source.writes(), 0U);
}

}  // namespace
}  // namespace uffd
