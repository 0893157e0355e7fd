// SPDX-License-Identifier: MIT
// A process with paged memory that is killed at any moment leaves a source that has, of each page,
// what it was or what was written, and all that flush() returned for.
#include <gtest/gtest.h>
#include <signal.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/awaited.hpp"
#include "support/forked.hpp"
#include "support/paging.hpp"
#include "support/scratch_file.hpp"
#include "uffd/mapping.hpp"
#include "uffd/pager/file_source.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();
constexpr std::size_t pages = 256;
constexpr std::size_t budgeted_pages = 64;
constexpr std::size_t writers = 2;
constexpr int rounds = 20;

// What child and parent share: which version of each page the child has begun to write, has
// written, and knows to be in the file.
struct account {
  struct of_page {
    std::atomic<std::uint32_t> begun{0}, ended{0}, flushed{0};
  };
  std::array<of_page, pages> versions;
  std::atomic<std::uint64_t> written{0};
  std::atomic<std::uint32_t> flushes{0};
};

// A word of a version; tells which one it is of.
std::uint64_t word_of(std::size_t number, std::size_t word, std::uint32_t version) {
  return std::uint64_t{version} << 32 | (number * 7919 + word * 31 + 1) % 0xFFFFFFFF;
}
std::size_t words_in(std::size_t number) {
  return (number == pages - 1 ? page / 2 : page) / sizeof(std::uint64_t);
}

std::string first_content() {
  std::string content((pages - 1) * page + page / 2, '\0');
  for (std::size_t number = 0; number < pages; ++number)
    for (std::size_t i = 0; i < words_in(number); ++i) {
      const auto word = word_of(number, i, 0);
      std::memcpy(&content[number * page + i * sizeof word], &word, sizeof word);
    }
  return content;
}

// Pages of its own, from their begin to their end.
void write_versions(const paged_memory& memory, std::size_t writer, account& shared,
                    std::uint64_t seed) {
  const auto all = memory.writable_as<std::uint64_t>();
  std::mt19937_64 random(seed);
  for (;;) {
    const auto number = random() % (pages / writers) * writers + writer;
    auto& versions = shared.versions[number];
    const auto version = versions.begun.fetch_add(1) + 1;
    for (std::size_t i = 0; i < words_in(number); ++i)
      std::atomic_ref(all[number * (page / sizeof(std::uint64_t)) + i])
          .store(word_of(number, i, version), std::memory_order_release);
    versions.ended.store(version);
    shared.written.fetch_add(1);
  }
}

void flush_and_tell(const paged_memory& memory, account& shared) {
  std::vector<std::uint32_t> ended(pages);
  for (;;) {
    for (std::size_t number = 0; number < pages; ++number)
      ended[number] = shared.versions[number].ended;
    if (memory.flush()) continue;
    for (std::size_t number = 0; number < pages; ++number)
      shared.versions[number].flushed = ended[number];
    shared.flushes.fetch_add(1);
    ::usleep(2000);
  }
}

void write_until_killed(test::pager_kind kind, const std::string& path, account& shared,
                        std::uint64_t seed) {
  pager_options how;
  how.budget = memory_budget(budgeted_pages * page);
  how.threads = 2;
  const test::any_pager pager(kind, how);
  map_options options;
  options.writes = write_policy::write_back;
  const auto memory = pager->map(file_source(path, file_access::read_write), options);
  std::vector<std::jthread> threads;
  for (std::size_t each = 0; each < writers; ++each)
    threads.emplace_back([&, each] { write_versions(memory, each, shared, seed + each); });
  flush_and_tell(memory, shared);
}

// Its words may be of two versions, as a writer was half-way when the page was written, or even
// pwrite(2): but the later ones come first.
void check_page(const std::string& content, std::size_t number, const account::of_page& versions) {
  std::uint32_t before = versions.begun;
  for (std::size_t i = 0; i < words_in(number); ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, &content[number * page + i * sizeof word], sizeof word);
    const auto version = static_cast<std::uint32_t>(word >> 32);
    ASSERT_EQ(word, word_of(number, i, version)) << "page " << number << ", word " << i;
    ASSERT_LE(version, before) << "page " << number << ", word " << i;
    ASSERT_GE(version, versions.flushed) << "page " << number << ", word " << i;
    before = version;
  }
}

class killed_pager : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(killed_pager);

TEST_P(killed_pager, leaves_what_was_written_and_all_that_was_flushed) {
  const auto initial = first_content();
  std::mt19937_64 random(static_cast<std::uint64_t>(GetParam()));
  std::uint64_t written = 0;
  std::uint32_t flushes = 0;
  for (int round = 0; round < rounds; ++round) {
    const test::scratch_file file(initial);
    const auto memory = mapping::shared(sizeof(account));
    auto& shared = *new (memory.bytes().data()) account;
    const auto seed = random();
    test::forked child([&] { write_until_killed(GetParam(), file.path(), shared, seed); });
    const auto enough = budgeted_pages + random() % 600;
    EXPECT_TRUE(test::eventually([&] { return shared.written > enough; }));
    const timespec moment{0, static_cast<long>(random() % 5'000'000)};
    ::nanosleep(&moment, nullptr);
    child.kill(SIGKILL);
    ASSERT_EQ(child.wait(), test::dies_of(SIGKILL));
    const auto content = file.content();
    ASSERT_EQ(content.size(), initial.size());
    for (std::size_t number = 0; number < pages; ++number)
      ASSERT_NO_FATAL_FAILURE(check_page(content, number, shared.versions[number]))
          << "round " << round;
    written += shared.written;
    flushes += shared.flushes;
  }
  RecordProperty("pages_written", std::to_string(written));
  EXPECT_GT(flushes, 0U);
}

}  // namespace
}  // namespace uffd
