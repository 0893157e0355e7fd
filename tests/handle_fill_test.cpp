// SPDX-License-Identifier: MIT
// Answers of the operations that fill pages, where one kind of memory is peculiar.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <span>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

handle open_any() { return handle::open({.optional = feature::minor_shmem | feature::poison}); }

TEST(handle_copy, into_a_part_of_a_huge_page_is_EINVAL) {
  UFFDPP_REQUIRE(test::huge_pages(1));
  const auto on = open_any();
  const test::memory one(test::memory_kind::huge, 1);
  on.register_range(one.range(), register_mode::missing);
  const auto result = on.copy(one.begin(), test::filled(page_size(), 7));
  EXPECT_EQ(result.number, EINVAL);
  EXPECT_EQ(result.bytes, 0u);
}

TEST(handle_copy, beyond_the_end_of_the_file_is_EFAULT_or_ENOMEM) {
  const auto on = open_any();
  const test::memory two(test::memory_kind::shared, 2);
  ASSERT_EQ(::ftruncate(two.mapping().file(), static_cast<off_t>(page_size())), 0);
  on.register_range(two.range(), register_mode::missing);
  const auto result = on.copy(two.at(1), test::filled(page_size(), 7));
  EXPECT_TRUE(result.number == EFAULT || result.number == ENOMEM /* Linux 7.3 */) << result.number;
  EXPECT_EQ(result.bytes, 0u);
}

TEST(handle_copy, where_the_page_cache_has_a_page_reports_already_present) {
  const auto on = open_any();
  const test::memory one(test::memory_kind::shared, 1);
  on.register_range(one.range(), register_mode::missing);
  const auto alias = one.mapping().alias();
  test::write_byte(alias.range().begin(), 7);
  EXPECT_EQ(on.copy(one.begin(), test::filled(page_size(), 8)).error(), condition::already_present);
  EXPECT_EQ(test::look(one.begin()), test::shows(7));
}

TEST(handle_copy, into_a_private_view_leaves_the_file_alone) {
  const auto on = open_any();
  const test::memory view(test::memory_kind::private_file, 1);
  on.register_range(view.range(), register_mode::missing);
  ASSERT_TRUE(on.copy(view.begin(), test::filled(page_size(), 7)));
  EXPECT_EQ(test::look(view.begin()), test::shows(7));
  const auto file = view.mapping().alias();
  EXPECT_EQ(test::look(file.range().begin()), test::shows(0));
}

TEST(handle_copy, from_missing_memory_of_its_own_is_EFAULT_without_kernel_faults) {
  UFFDPP_REQUIRE(test::user_mode_faults_only());
  const auto on = handle::open({.kernel_faults = kernel_fault_policy::never});
  const test::memory two(test::memory_kind::anonymous, 2);
  on.register_range(two.range(), register_mode::missing);
  EXPECT_EQ(on.copy(two.at(0), two.bytes().subspan(page_size())).number, EFAULT);
}

// The kernel lets any userfaultfd of the process do that (it wakes only its own waiters).
TEST(handle_copy, through_another_handle_of_the_process_succeeds) {
  const auto owner = open_any();
  const auto other = open_any();
  const test::memory one(test::memory_kind::anonymous, 1);
  owner.register_range(one.range(), register_mode::missing);
  EXPECT_TRUE(other.copy(one.begin(), test::filled(page_size(), 7)));
  EXPECT_EQ(test::look(one.begin()), test::shows(7));
}

TEST(handle_zeropage, into_present_page_reports_already_present) {
  for (const auto kind : {test::memory_kind::anonymous, test::memory_kind::shared}) {
    const auto on = open_any();
    const test::memory one(kind, 1);
    on.register_range(one.range(), register_mode::missing);
    ASSERT_TRUE(on.copy(one.begin(), test::filled(page_size(), 7)));
    const auto result = on.zeropage(one.range());
    EXPECT_EQ(result.error(), condition::already_present);
    EXPECT_EQ(result.bytes, 0u);
    EXPECT_EQ(test::look(one.begin()), test::shows(7));
  }
}

TEST(handle_zeropage, through_an_alias_reports_already_present) {
  const auto on = open_any();
  const test::memory one(test::memory_kind::shared, 1);
  const auto alias = one.mapping().alias();
  on.register_range(one.range(), register_mode::missing);
  on.register_range(alias.range(), register_mode::missing);
  ASSERT_TRUE(on.zeropage(one.range()));
  EXPECT_EQ(on.zeropage(alias.range()).error(), condition::already_present);
  EXPECT_EQ(test::look(one.begin()), test::shows(0));
}

TEST(handle_zeropage, up_to_a_present_page_reports_retry_with_what_was_done) {
  const auto on = open_any();
  const test::memory three(test::memory_kind::anonymous, 3);
  on.register_range(three.range(), register_mode::missing);
  ASSERT_TRUE(on.copy(three.at(1), test::filled(page_size(), 7)));
  const auto result = on.zeropage(three.range());
  EXPECT_EQ(result.error(), condition::retry);
  EXPECT_EQ(result.bytes, page_size());
}

TEST(handle_zeropage, of_unregistered_memory_reports_not_registered) {
  const auto on = open_any();
  const test::memory one(test::memory_kind::anonymous, 1);
  EXPECT_EQ(on.zeropage(one.range()).error(), condition::not_registered);
}

TEST(handle_zeropage, of_an_unaligned_or_empty_range_is_EINVAL) {
  const auto on = open_any();
  const test::memory two(test::memory_kind::anonymous, 2);
  on.register_range(two.range(), register_mode::missing);
  EXPECT_EQ(on.zeropage({two.begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on.zeropage({two.begin(), 0}).number, EINVAL);
}

class handle_continue : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::kernel_has(feature::minor_shmem)); }

  const test::memory two_{test::memory_kind::shared, 2};
  const handle on_ = open_any();
};

TEST_F(handle_continue, of_a_hole_in_the_page_cache_is_EFAULT) {
  on_.register_range(two_.range(), register_mode::minor);
  const auto result = on_.continue_(two_.page(0));
  EXPECT_EQ(result.number, EFAULT);
  EXPECT_EQ(result.bytes, 0u);
}

TEST_F(handle_continue, twice_reports_already_present) {
  on_.register_range(two_.range(), register_mode::minor);
  test::write_byte(two_.mapping().alias().range().begin(), 7);
  ASSERT_TRUE(on_.continue_(two_.page(0)));
  EXPECT_EQ(on_.continue_(two_.page(0)).error(), condition::already_present);
}

TEST_F(handle_continue, up_to_a_hole_answers_what_was_done) {
  on_.register_range(two_.range(), register_mode::minor);
  test::write_byte(two_.mapping().alias().range().begin(), 7);
  const auto result = on_.continue_(two_.range());
  EXPECT_EQ(result.error(), condition::retry);
  EXPECT_EQ(result.bytes, page_size());
}

TEST_F(handle_continue, write_protected_without_that_mode_is_EINVAL) {
  on_.register_range(two_.range(), register_mode::minor);
  test::write_byte(two_.mapping().alias().range().begin(), 7);
  EXPECT_EQ(on_.continue_(two_.page(0), fill_mode::write_protect).number, EINVAL);
}

TEST_F(handle_continue, beyond_the_end_of_the_file_is_EINVAL_or_EFAULT) {
  ASSERT_EQ(::ftruncate(two_.mapping().file(), static_cast<off_t>(page_size())), 0);
  on_.register_range(two_.range(), register_mode::minor);
  const auto result = on_.continue_(two_.page(1));
  EXPECT_TRUE(result.number == EINVAL || result.number == EFAULT /* Linux 7.3 */) << result.number;
  EXPECT_EQ(result.bytes, 0u);
}

TEST_F(handle_continue, of_anonymous_memory_is_EINVAL) {
  const test::memory one(test::memory_kind::anonymous, 1);
  on_.register_range(one.range(), register_mode::missing);
  EXPECT_EQ(on_.continue_(one.range()).number, EINVAL);
}

TEST_F(handle_continue, of_unregistered_memory_reports_not_registered) {
  EXPECT_EQ(on_.continue_(two_.page(0)).error(), condition::not_registered);
}

TEST_F(handle_continue, of_an_unaligned_or_empty_range_is_EINVAL) {
  on_.register_range(two_.range(), register_mode::minor);
  EXPECT_EQ(on_.continue_({two_.begin() + 1, page_size()}).number, EINVAL);
  EXPECT_EQ(on_.continue_({two_.begin(), 0}).number, EINVAL);
}

class handle_poison : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::kernel_has(feature::poison)); }
};

TEST_F(handle_poison, makes_system_calls_on_the_page_fail_with_EFAULT) {
  const auto on = open_any();
  const test::memory one(test::memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing);
  ASSERT_TRUE(on.poison(one.range()));
  const unique_fd zeroes(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::read(zeroes.get(), one.bytes().data(), 1), -1);
  EXPECT_EQ(errno, EFAULT);
#ifdef MADV_POPULATE_READ
  EXPECT_EQ(::madvise(one.bytes().data(), one.size(), MADV_POPULATE_READ), -1);
  EXPECT_EQ(errno, EHWPOISON);
#endif
}

TEST_F(handle_poison, twice_reports_already_present) {
  const auto on = open_any();
  const test::memory one(test::memory_kind::anonymous, 1);
  on.register_range(one.range(), register_mode::missing);
  ASSERT_TRUE(on.poison(one.range()));
  EXPECT_EQ(on.poison(one.range()).error(), condition::already_present);
}

}  // namespace
}  // namespace uffd
