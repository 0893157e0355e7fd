// SPDX-License-Identifier: MIT
#include "tracking/anonymous_memory.hpp"

#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include <cerrno>
#include <cstdint>

#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

class anonymous_memory : public testing::TestWithParam<test::memory_kind> {};
UFFDPP_ON_EVERY_KIND(anonymous_memory);

TEST_P(anonymous_memory, is_what_has_no_file) {
  if (test::is_huge(GetParam())) UFFDPP_REQUIRE(test::huge_pages());
  const test::memory memory(GetParam(), 1);
  EXPECT_EQ(detail::is_anonymous(memory.range()), GetParam() == test::memory_kind::anonymous);
}

// Its file's number may be 0.
TEST(anonymous_memory_of_system_v, has_a_file) {
  const int segment = ::shmget(IPC_PRIVATE, page_size(), 0600);
  if (segment < 0) GTEST_SKIP() << "no System V shared memory here";
  void* const at = ::shmat(segment, nullptr, 0);
  ::shmctl(segment, IPC_RMID, nullptr);
  ASSERT_NE(at, MAP_FAILED);
  EXPECT_FALSE(detail::is_anonymous({reinterpret_cast<std::uintptr_t>(at), page_size()}));
  ::shmdt(at);
}

TEST(anonymous_memory_beside_a_file, is_refused) {
  const auto memory = mapping::anonymous(3 * page_size());
  const auto file = mapping::shared(page_size());
  void* const at = memory.bytes().data() + page_size();
  ASSERT_EQ(::mmap(at, page_size(), PROT_READ, MAP_SHARED | MAP_FIXED, file.file(), 0), at);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(detail::is_anonymous(memory.range())); }), EINVAL);
  EXPECT_TRUE(detail::is_anonymous({memory.range().begin(), page_size()}));
}

TEST(anonymous_memory_that_is_not_mapped, is_none) {
  EXPECT_FALSE(detail::is_anonymous(test::unmapped_page()));
}

}  // namespace
}  // namespace uffd
