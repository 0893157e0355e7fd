// SPDX-License-Identifier: MIT
// Pages that are huge ones: what the tests of memory of small pages show must hold of them, too.
#include "pager/page_backing.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "support/few_descriptors.hpp"
#include "support/forked.hpp"
#include "support/kernel_flags.hpp"
#include "support/page_flags.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

constexpr std::size_t huge = test::huge_page_size;
constexpr std::size_t budget_bytes = 32 * huge;  // less, and a buffer could not hold a page
constexpr std::size_t words_per_page = huge / sizeof(std::uint64_t);

map_options of_huge_pages(write_policy writes = write_policy::none) {
  map_options options;
  options.writes = writes;
  options.backing = page_backing::huge;
  options.huge_page = huge;
  return options;
}

// Zeroes but for some words at the begin of each huge page; those are kept when they are written.
class few_words {
 public:
  static constexpr std::size_t per_page = 4;

  explicit few_words(std::size_t pages) : words_(pages * per_page) {
    for (std::size_t i = 0; i < words_.size(); ++i) words_[i] = i + 1;
  }
  std::uint64_t size() const noexcept { return words_.size() / per_page * huge; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    std::memset(to.data(), 0, to.size());
    for (std::size_t at = 0; at < to.size(); at += huge)
      std::memcpy(&to[at], words_of(offset + at), per_page * sizeof(std::uint64_t));
    return {to.size(), {}};
  }
  std::error_code write(std::uint64_t offset, std::span<const std::byte> from) noexcept {
    for (std::size_t at = 0; at < from.size(); at += huge)
      std::memcpy(words_of(offset + at), &from[at], per_page * sizeof(std::uint64_t));
    return {};
  }
  std::uint64_t word(std::size_t page, std::size_t number) const {
    return words_[page * per_page + number];
  }

 private:
  const std::uint64_t* words_of(std::uint64_t offset) const noexcept {
    return &words_[offset / huge * per_page];
  }
  std::uint64_t* words_of(std::uint64_t offset) noexcept {
    return &words_[offset / huge * per_page];
  }

  std::vector<std::uint64_t> words_;
};

std::size_t resident_pages(const paged_memory& memory) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < memory.bytes().size(); at += huge)
    if (test::is_there(test::address_of(memory.bytes()[at]))) ++count;
  return count;
}

// With one buffer, which is as large as a page within the budget that the tests have pages for.
class huge_pages_of : public test::every_pager {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::missing_hugetlbfs | feature::wp_hugetlbfs_shmem));
    UFFDPP_REQUIRE(test::huge_pages(budget_bytes / huge));
    options_.budget = memory_budget(budget_bytes);
    options_.threads = 1;
    pager_.emplace(GetParam(), options_);
  }

  template <class Source>
  paged_memory map(Source&& source, write_policy writes = write_policy::none) const {
    return (*pager_)->map(std::forward<Source>(source), of_huge_pages(writes));
  }
  const memory_budget& budget() const { return options_.budget; }

 private:
  pager_options options_;
  std::optional<test::any_pager> pager_;
};
UFFDPP_FOR_EVERY_PAGER(huge_pages_of);

TEST_P(huge_pages_of, a_source_show_every_byte_and_zeroes_behind_its_end) {
  const test::counted_source source(2 * huge + 100);
  const auto memory = map(std::ref(source));
  EXPECT_EQ(memory.page_size(), huge);
  EXPECT_EQ(test::first_wrong(memory.bytes()), std::nullopt);
  EXPECT_EQ(source.reads(), 3U);
  for (const std::size_t offset : {2 * huge + 100, 2 * huge + 4096, 3 * huge - 1})
    EXPECT_EQ(test::look_at(memory, offset), test::shows(0)) << offset;
  EXPECT_TRUE(test::is_huge_mapped({test::address_of(memory.bytes()[0]), huge}));
}

TEST_P(huge_pages_of, what_may_not_be_written_are_not) {
  const auto memory = map(few_words(2));
  for (int access = 0; access < 2; ++access) {
    EXPECT_EQ(test::try_write(test::address_of(memory.bytes()[0]), 7), test::takes_sigsegv);
    EXPECT_EQ(test::look_at(memory, 0), test::shows(1));
  }
}

TEST_P(huge_pages_of, a_budget_never_exceed_it) {
  const auto memory = map(few_words(48));
  std::size_t most = 0;
  std::mt19937_64 random(1);
  for (int i = 0; i < 500; ++i) {
    const auto page = random() % 48;
    ASSERT_EQ(memory.as<std::uint64_t>()[page * words_per_page + 1], page * 4 + 2);
    most = std::max(most, resident_pages(memory));
    ASSERT_LE(budget().resident(), budget().limit());
  }
  const bool has_own_buffer = GetParam() != test::pager_kind::shared_handler;
  EXPECT_LE(most * huge, budget_bytes - (has_own_buffer ? huge : 0)) << "a buffer counts, too";
  EXPECT_GT(most * huge, budget_bytes / 2);
  EXPECT_GT(memory.statistics().pages_evicted, 100U);
}

TEST_P(huge_pages_of, a_mapping_are_given_back_at_its_end) {
  const auto before = budget().resident();
  {
    const auto memory = map(few_words(8));
    EXPECT_FALSE(memory.prefetch(memory.bytes()));
    EXPECT_EQ(resident_pages(memory), 8U);
    EXPECT_EQ(budget().resident(), before + 8 * huge);
  }
  EXPECT_EQ(budget().resident(), before);
}

// Each thread counts in a word of its own, on pages that both write.
TEST_P(huge_pages_of, several_writers_lose_no_write) {
  constexpr std::size_t pages = 48;
  few_words source(pages);
  std::array<std::array<std::uint64_t, pages>, 2> counted{};
  {
    const auto memory = map(std::ref(source), write_policy::write_back);
    const auto words = memory.writable_as<std::uint64_t>();
    std::vector<std::jthread> writers;
    for (std::size_t each = 0; each < counted.size(); ++each)
      writers.emplace_back([&, each] {
        std::mt19937_64 random(each);
        for (int i = 0; i < 1000; ++i) {
          const auto page = random() % pages;
          ++words[page * words_per_page + each];
          ++counted[each][page];
          if (i % 100 == 0) {
            EXPECT_FALSE(memory.flush());
          }
        }
      });
    writers.clear();
    EXPECT_GT(memory.statistics().pages_evicted, 100U);
  }
  for (std::size_t each = 0; each < counted.size(); ++each)
    for (std::size_t page = 0; page < pages; ++page)
      ASSERT_EQ(source.word(page, each) - (page * few_words::per_page + each + 1),
                counted[each][page])
          << "thread " << each << ", page " << page;
}

TEST_P(huge_pages_of, a_pin_stay_and_are_written_back) {
  few_words source(48);
  const auto memory = map(std::ref(source), write_policy::write_back);
  {
    const auto pinned = memory.pin(memory.bytes().subspan(3 * huge, 2 * huge), pin_access::write);
    for (std::size_t page = 8; page < 48; ++page)
      ASSERT_EQ(test::look_at(memory, page * huge), test::shows(static_cast<int>(page * 4 + 1)));
    const std::array<std::uint64_t, 2> written{70, 71};
    std::memcpy(pinned.bytes().data(), written.data(), sizeof written[0]);
    std::memcpy(pinned.bytes().data() + huge, &written[1], sizeof written[1]);
    EXPECT_FALSE(memory.flush());
  }
  EXPECT_EQ(source.word(3, 0), 70U);
  EXPECT_EQ(source.word(4, 0), 71U);
  EXPECT_EQ(source.word(4, 1), 18U);
}

TEST_P(huge_pages_of, others_that_drop_them_come_again) {
  const auto memory = map(few_words(2), write_policy::keep);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(test::look_at(memory, huge), test::shows(5));
    EXPECT_EQ(test::try_write(test::address_of(memory.bytes()[huge]), 9), test::shows(9));
    ASSERT_EQ(::madvise(memory.writable_bytes().data() + huge, huge, MADV_DONTNEED), 0);
  }
  EXPECT_EQ(test::look_at(memory, huge), test::shows(5));
}

TEST_P(huge_pages_of, a_source_that_fails_are_sigbus) {
  test::kept_source source(2 * huge);
  std::atomic<bool> fails{true};
  source.reading_fails = [&] {
    return fails ? std::make_error_code(std::errc::io_error) : std::error_code();
  };
  const auto memory = map(std::ref(source));
  EXPECT_EQ(test::look_at(memory, 4096), test::takes_sigbus);
  EXPECT_EQ(memory.prefetch(memory.bytes().first(1)), std::errc::io_error);
  fails = false;
  EXPECT_EQ(test::look_at(memory, huge), test::shows_source(huge));
  EXPECT_EQ(test::look_at(memory, 0), test::takes_sigbus);
}

TEST_P(huge_pages_of, a_working_set_are_read_before_they_are_touched) {
  working_set wanted;
  {
    const auto memory = map(few_words(16));
    const auto recording = memory.record();
    for (const std::size_t page : {1U, 2U, 7U})
      ASSERT_EQ(test::look_at(memory, page * huge), test::shows(static_cast<int>(page * 4 + 1)));
    wanted = recording.wanted();
  }
  const auto memory = map(few_words(16));
  ASSERT_FALSE(memory.replay(wanted));
  EXPECT_EQ(resident_pages(memory), 3U);
  EXPECT_EQ(test::look_at(memory, 7 * huge), test::shows(29));
  EXPECT_EQ(memory.statistics().faults, 0U);
}

map_options of_pages(std::size_t bytes) {
  auto options = of_huge_pages();
  options.huge_page = bytes;
  return options;
}

TEST(page_backing, of_huge_pages_that_no_buffer_can_hold_is_EINVAL_and_names_the_budget) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_hugetlbfs));
  pager_options options;
  options.threads = 2;
  options.budget = memory_budget(budget_bytes);
  const pager small(options);
  const auto refused =
      test::refusal_of([&] { static_cast<void>(small.map(few_words(1), of_huge_pages())); });
  EXPECT_EQ(refused.number, EINVAL);
  EXPECT_TRUE(refused.names("budget")) << refused.words;
  const pager unlimited;
  EXPECT_EQ(test::thrown([&] {
              static_cast<void>(unlimited.map(few_words(1), of_pages(std::size_t{1} << 30)));
            }),
            EINVAL);
}

TEST(page_backing, of_huge_pages_of_no_such_size_is_EINVAL) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_hugetlbfs));
  const pager pager;
  for (const std::size_t odd : {huge / 2, huge - 1, page_size()})
    EXPECT_EQ(test::thrown([&] { static_cast<void>(pager.map(few_words(1), of_pages(odd))); }),
              EINVAL)
        << odd;
}

TEST(page_backing, of_other_pages_takes_no_size_of_huge_ones) {
  const pager pager;
  map_options options;
  options.huge_page = huge;
  EXPECT_EQ(test::thrown([&] { static_cast<void>(pager.map(few_words(1), options)); }), EINVAL);
}

TEST(page_backing, of_huge_pages_has_the_systems_default_size) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_hugetlbfs));
  const auto size = detail::page_size_of(of_pages(0));
  EXPECT_GT(size, page_size());
  UFFDPP_REQUIRE(test::huge_pages());
  if (size != huge) GTEST_SKIP() << "pages of " << size << " bytes may be too large for buffers";
  const pager pager;
  EXPECT_EQ(pager.map(few_words(1), of_pages(0)).page_size(), size);
}

TEST(page_backing, of_huge_pages_tells_of_too_many_descriptors) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_hugetlbfs));
  const test::no_more_descriptors until_end;
  EXPECT_EQ(test::thrown([] { static_cast<void>(detail::page_size_of(of_pages(0))); }), EMFILE);
}

// Merging takes marks away: who writes to such a page would not be heard of (Linux 6.18).
TEST(page_backing, is_never_merged_with_other_pages) {
  constexpr int merge_all = 67;  // PR_SET_MEMORY_MERGE, Linux 6.4
  const auto flags_of_new = [&] {
    if (::prctl(merge_all, 1, 0, 0, 0) != 0) return 2;
    const auto other = mapping::anonymous(page_size());
    if (!test::has_kernel_flag(other.range().begin(), "mg")) return 3;
    const auto memory = detail::make_backing(page_size(), {}, nullptr);
    return test::has_kernel_flag(memory.range().begin(), "mg") ? 1 : 0;
  };
  const auto status = test::in_child(flags_of_new);
  if (status == test::exits_with(2)) GTEST_SKIP() << "this kernel merges no whole process";
  EXPECT_EQ(status, test::exits_with(0));
}

// Whose buffers the budget does not count.
TEST(page_backing, of_huge_pages_that_a_shared_handler_can_hold_needs_no_budget_for_buffers) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_hugetlbfs));
  UFFDPP_REQUIRE(test::huge_pages(2));
  pager_options options;
  options.budget = memory_budget(2 * huge);
  const test::any_pager pager(test::pager_kind::shared_handler, options);
  const auto memory = pager->map(few_words(4), of_huge_pages());
  for (std::size_t number = 0; number < 4; ++number)
    EXPECT_EQ(test::look_at(memory, number * huge),
              test::shows(static_cast<int>(number * few_words::per_page + 1)));
}

TEST(page_backing, that_a_handler_can_not_serve_is_ENOTSUP_and_names_the_feature) {
  UFFDPP_REQUIRE(test::kernel_has(feature::missing_hugetlbfs | feature::wp_hugetlbfs_shmem));
  fault_handler_options how;
  how.forks = fork_policy::not_inherited;
  for (const auto writes : {write_policy::none, write_policy::write_back}) {
    fault_handler handler([](fault&) -> resolution { return std::errc::invalid_argument; }, how);
    const auto refused = test::refusal_of(
        [&] { static_cast<void>(pager(handler).map(few_words(1), of_huge_pages(writes))); });
    EXPECT_EQ(refused.number, ENOTSUP);
    const bool first = writes == write_policy::none;
    EXPECT_TRUE(refused.names(first ? "missing_hugetlbfs" : "wp_hugetlbfs_shmem")) << refused.words;
    how.open.optional |= feature::missing_hugetlbfs;
  }
}

}  // namespace
}  // namespace uffd
