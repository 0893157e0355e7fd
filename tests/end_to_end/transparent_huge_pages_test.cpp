// SPDX-License-Identifier: MIT
// Anonymous memory that the kernel may hold in huge pages by itself, and shared memory likewise.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/told.hpp"
#include "support/toucher.hpp"
#include "uffd/uffd.hpp"

namespace {

using uffd::page_range;
using uffd::page_size;
namespace test = uffd::test;

// 2 MiB with pages of 4 KiB, 32 MiB with pages of 16 KiB.
const std::size_t huge_page = [] {
  std::size_t size = test::huge_page_size;
  std::ifstream("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") >> size;
  return size;
}();
constexpr std::size_t count = 3;

// `count` stretches that may each be one huge page.
class aligned {
 public:
  explicit aligned(int advice) : memory_(uffd::mapping::anonymous((count + 1) * huge_page)) {
    ::madvise(memory_.bytes().data(), memory_.bytes().size(), advice);
  }
  page_range range() const {
    return {uffd::align_up(memory_.range().begin(), huge_page), count * huge_page};
  }
  page_range stretch(std::size_t index) const {
    return {range().begin() + index * huge_page, huge_page};
  }

 private:
  uffd::mapping memory_;
};

void fill(page_range range, int value) {
  std::memset(reinterpret_cast<void*>(range.begin()), value, range.size());
}
int advise(page_range range, int advice) {
  return ::madvise(reinterpret_cast<void*>(range.begin()), range.size(), advice);
}
// Every byte of the range; touches it in this thread.
bool all_are(page_range range, int value) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(range.begin());
  return bytes[0] == value && std::memcmp(bytes, bytes + 1, range.size() - 1) == 0;
}

// from() is made of huge pages filled with 1, 2, 3.
class transparent_huge_pages : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::pagemap_scan());
    advise(from_.range(), MADV_DONTFORK);
    for (std::size_t i = 0; i < count; ++i) fill(from_.stretch(i), test::byte_of(i));
    UFFDPP_REQUIRE(
        test::is_huge_mapped(from_.range()) ? "" : "the kernel gives no transparent huge pages");
  }
  const aligned& from() const { return from_; }

  // A callback that moves all that is in from() at the block of the fault.
  auto mover(std::size_t block, test::told_pages& told) const {
    return [this, block, &told](uffd::fault& raised) {
      told.add(raised.offset());
      const auto to = raised.block(block);
      if (to.begin() != raised.page().begin()) return raised.copy_buffer(0);
      return raised.move({from_.range().begin() + raised.offset(), to.size()});
    };
  }
  void expect_moved(page_range to) const {
    for (std::size_t i = 0; i < count; ++i)
      EXPECT_TRUE(all_are({to.begin() + i * huge_page, huge_page}, test::byte_of(i))) << i;
    EXPECT_TRUE(all_are(from_.range(), 0)) << "what was moved is a hole";
  }

 private:
  const aligned from_{MADV_HUGEPAGE};
};

TEST_F(transparent_huge_pages, are_moved_whole_with_one_fault_each) {
  UFFDPP_REQUIRE(test::kernel_has(uffd::feature::move));
  const aligned to(MADV_HUGEPAGE);
  test::told_pages told;
  uffd::fault_handler handler(mover(huge_page, told), test::one_thread());
  const auto served = handler.serve(to.range());
  for (std::size_t i = 0; i < count; ++i)
    EXPECT_EQ(test::toucher(to.stretch(i).begin()).saw(), test::shows(test::byte_of(i)));
  EXPECT_TRUE(test::is_huge_mapped(to.range()));
  expect_moved(to.range());
  EXPECT_EQ(told.count(), count);
}

TEST_F(transparent_huge_pages, are_moved_in_small_ones_where_there_may_be_no_others) {
  UFFDPP_REQUIRE(test::kernel_has(uffd::feature::move));
  const aligned to(MADV_NOHUGEPAGE);
  test::told_pages told;
  uffd::fault_handler handler(mover(huge_page, told), test::one_thread());
  const auto served = handler.serve(to.range());
  for (std::size_t i = 0; i < count; ++i)
    EXPECT_EQ(test::toucher(to.stretch(i).begin()).saw(), test::shows(test::byte_of(i)));
  EXPECT_FALSE(test::is_huge_mapped(to.stretch(0)));
  expect_moved(to.range());
  EXPECT_EQ(told.count(), count);
}

TEST_F(transparent_huge_pages, are_moved_page_by_page_with_a_fault_for_each) {
  UFFDPP_REQUIRE(test::kernel_has(uffd::feature::move));
  const aligned to(MADV_NOHUGEPAGE);
  test::told_pages told;
  uffd::fault_handler handler(mover(page_size(), told), test::one_thread());
  const auto served = handler.serve(to.range());
  expect_moved(to.range());
  EXPECT_EQ(told.count(), to.range().size() / page_size());
}

TEST_F(transparent_huge_pages, that_are_there_are_found_so_by_copy_and_by_the_end_of_a_region) {
  const auto on = uffd::handle::open({.optional = uffd::feature::poison});
  ASSERT_EQ(advise(from().stretch(1), MADV_DONTNEED), 0);
  {
    const uffd::region registered(on, from().range());
    EXPECT_EQ(on.copy(from().stretch(0).begin(), test::filled(page_size(), 9)).error(),
              uffd::condition::already_present);
  }
  EXPECT_TRUE(all_are(from().stretch(0), 1));
  EXPECT_TRUE(all_are(from().stretch(2), 3));
  EXPECT_TRUE(test::is_huge_mapped(from().stretch(2)));
  EXPECT_NE(test::look(from().stretch(1).begin()).signal, 0);
}

TEST_F(transparent_huge_pages, are_protected_and_unprotected_in_part) {
  UFFDPP_REQUIRE(test::kernel_has(uffd::feature::pagefault_flag_wp));
  const auto on = uffd::handle::open({.required = uffd::feature::pagefault_flag_wp});
  on.register_range(from().range(), uffd::register_mode::write_protect);
  ASSERT_TRUE(on.write_protect(from().range()));
  const auto begin = from().stretch(1).begin();
  ASSERT_TRUE(on.write_unprotect({begin, page_size()}));
  EXPECT_FALSE(test::is_marked(begin));
  EXPECT_TRUE(test::is_marked(begin + page_size()));
  EXPECT_EQ(test::try_write(begin, 9), test::shows(9));
  ASSERT_TRUE(on.write_unprotect(from().range()));
  EXPECT_TRUE(all_are({begin + page_size(), huge_page - page_size()}, 2));
}

TEST_F(transparent_huge_pages, lose_their_marks_when_they_are_moved_by_mremap) {
  UFFDPP_REQUIRE(test::kernel_has(uffd::feature::pagefault_flag_wp));
  const auto on = uffd::handle::open({.required = uffd::feature::pagefault_flag_wp});
  const aligned to(MADV_HUGEPAGE);
  on.register_range(from().stretch(1), uffd::register_mode::write_protect);
  ASSERT_TRUE(on.write_protect(from().stretch(1)));
  ASSERT_TRUE(test::is_marked(from().stretch(1).begin()));
  const auto target = to.stretch(1).begin();
  ASSERT_EQ(::mremap(reinterpret_cast<void*>(from().stretch(1).begin()), huge_page, huge_page,
                     MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(target)),
            reinterpret_cast<void*>(target));
  for (std::size_t offset = 0; offset < huge_page; offset += page_size())
    ASSERT_FALSE(test::is_marked(target + offset)) << offset;
  EXPECT_EQ(test::try_write(target, 9), test::shows(9));
}

// Memory that may be held in huge pages is served by small ones all the same.
TEST_F(transparent_huge_pages, are_no_reason_for_fewer_faults) {
  const aligned to(MADV_HUGEPAGE);
  test::told_pages told;
  uffd::fault_handler handler(
      [&](uffd::fault& raised) {
        told.add(raised.offset());
        EXPECT_EQ(raised.page().size(), page_size());
        return test::fill_by_offset()(raised);
      },
      test::one_thread());
  const auto served = handler.serve(to.range());
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(test::toucher(to.range().begin() + i * page_size() + 5).saw(),
              test::shows(test::byte_of(i)));
  EXPECT_EQ(told.count(), 8u);
}

#ifndef MADV_COLLAPSE
constexpr int MADV_COLLAPSE = 25;  // Linux 6.1
#endif

TEST_F(transparent_huge_pages, are_not_made_over_missing_pages) {
  const aligned to(MADV_HUGEPAGE);
  uffd::fault_handler handler(test::fill_by_offset(), test::one_thread());
  const auto served = handler.serve(to.range());
  uffd::touch({to.range().begin(), huge_page - page_size()});
  const int refused = advise(to.stretch(0), MADV_COLLAPSE) == 0 ? 0 : errno;
  if (refused == EINVAL) GTEST_SKIP() << "this kernel lacks MADV_COLLAPSE";
  EXPECT_NE(refused, 0) << "the missing page would be zeroes";
  const auto last = huge_page / page_size() - 1;
  EXPECT_EQ(test::toucher(to.range().begin() + last * page_size()).saw(),
            test::shows(test::byte_of(last)));
  EXPECT_EQ(advise(to.stretch(0), MADV_COLLAPSE), 0);
  EXPECT_TRUE(test::is_huge_mapped(to.stretch(0)));
  for (std::size_t i = 0; i <= last; ++i)
    ASSERT_EQ(test::look(to.range().begin() + i * page_size()), test::shows(test::byte_of(i)));
}

// Two huge pages' worth of a memfd, mapped twice: one aligned to be a huge page.
TEST(transparent_huge_pages_of_a_file, are_made_of_pages_that_were_continued) {
  UFFDPP_REQUIRE(test::pagemap_scan());
  UFFDPP_REQUIRE(test::kernel_has(uffd::feature::minor_shmem));
  const auto file = uffd::mapping::shared(huge_page);
  const uffd::mapping place = uffd::mapping::anonymous(2 * huge_page);
  const page_range served(uffd::align_up(place.range().begin(), huge_page), huge_page);
  ASSERT_NE(::mmap(reinterpret_cast<void*>(served.begin()), huge_page, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, file.file(), 0),
            MAP_FAILED);
  const auto pages = huge_page / page_size();
  for (std::size_t i = 0; i < pages; ++i)
    std::memset(file.bytes().data() + i * page_size(), test::byte_of(i), page_size());
  test::told_pages minor;
  auto options = test::one_thread();
  options.open.required = uffd::feature::minor_shmem;
  uffd::fault_handler handler(
      [&](uffd::fault& raised) {
        if (raised.kind() == uffd::fault_kind::minor) minor.add(raised.offset());
        return raised.continue_();
      },
      options);
  const auto region = handler.serve(served, {.modes = uffd::register_mode::minor});
  uffd::touch(served);
  EXPECT_EQ(minor.count(), pages);
  if (advise(served, MADV_COLLAPSE) != 0)
    GTEST_SKIP() << "MADV_COLLAPSE of shared memory: " << ::strerror(errno);
  EXPECT_TRUE(test::is_huge_mapped(served));
  for (std::size_t i = 0; i < pages; ++i)
    ASSERT_EQ(test::look(served.begin() + i * page_size()), test::shows(test::byte_of(i)));
  EXPECT_EQ(minor.count(), pages);
}

}  // namespace
