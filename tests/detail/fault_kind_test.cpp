// SPDX-License-Identifier: MIT
// Also as on processors that don't say what an access was.
#include "detail/fault_kind.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <optional>

#include "support/on_every_kind.hpp"
#include "support/page_flags.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/mapping.hpp"

namespace uffd::detail {
namespace {

constexpr fault_cause unknown{};
constexpr fault_cause read_missing{true, false, false};
constexpr fault_cause write_missing{true, true, false};
constexpr fault_cause write_protected{true, true, true};

class fault_kind_of : public test::on_every_kind {
 protected:
  std::optional<fault_kind> kind(flags<register_mode> modes, const fault_cause& cause) const {
    return kind_of(on(), {memory().range(), page_size(), modes, {}, 0, 0}, memory().at(1), cause);
  }
};
UFFDPP_ON_EVERY_KIND(fault_kind_of);

TEST_P(fault_kind_of, one_mode_is_that_mode) {
  for (const auto& cause : {unknown, read_missing, write_missing}) {
    EXPECT_EQ(kind(register_mode::missing, cause), fault_kind::missing);
    EXPECT_EQ(kind(register_mode::minor, cause), fault_kind::minor);
  }
  EXPECT_EQ(kind(register_mode::write_protect, write_protected), fault_kind::write_protect);
}

TEST_P(fault_kind_of, what_the_mode_does_not_raise_is_somebody_elses) {
  EXPECT_EQ(kind(register_mode::missing | register_mode::minor, write_protected), std::nullopt);
  EXPECT_EQ(kind(register_mode::write_protect, read_missing), std::nullopt);
  ASSERT_EQ(::mprotect(memory().bytes().data(), memory().size(), PROT_NONE), 0);
  EXPECT_EQ(kind(register_mode::write_protect, write_missing), std::nullopt);
  EXPECT_EQ(kind(register_mode::write_protect, unknown), std::nullopt);
}

// Between the access and the kernel's look another thread may bring the page, protected, and a
// third one let writes to it through.
TEST_P(fault_kind_of, write_is_of_protection_where_nothing_else_is_asked_for_and_a_page_came) {
  EXPECT_EQ(kind(register_mode::write_protect, write_missing), fault_kind::write_protect);
  EXPECT_EQ(kind(register_mode::write_protect, unknown), fault_kind::write_protect);
}

TEST_P(fault_kind_of, write_protection_is_looked_up_where_the_processor_does_not_tell) {
  const auto modes = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(can(modes));
  UFFDPP_REQUIRE(test::told_marks());
  serve(modes);
  EXPECT_EQ(kind(modes, unknown), fault_kind::missing);
  const auto content = bytes(1);
  ASSERT_TRUE(on().copy(memory().at(1), content));
  ASSERT_TRUE(on().write_protect(memory().range()));
  EXPECT_EQ(kind(modes, unknown), fault_kind::write_protect);
  EXPECT_EQ(kind(register_mode::write_protect, unknown), fault_kind::write_protect);
}

TEST(fault_kind_message, is_what_the_kernel_would_have_sent) {
  const auto all = feature::sigbus | feature::thread_id | feature::exact_address;
  UFFDPP_REQUIRE(test::kernel_has(all));
  const auto plain = handle::open({.required = feature::sigbus});
  const auto full = handle::open({.required = all});
  const auto page = 16 * page_size();
  const auto missing = message_of(plain, page + 3, fault_kind::missing, false);
  EXPECT_EQ(missing.address, page);
  EXPECT_TRUE(missing.cause.empty());
  EXPECT_FALSE(missing.thread_id);
  const auto minor = message_of(full, page + 3, fault_kind::minor, true);
  EXPECT_EQ(minor.address, page + 3);
  EXPECT_EQ(minor.cause, fault_flag::minor | fault_flag::write);
  EXPECT_EQ(minor.thread_id, ::gettid());
  EXPECT_EQ(message_of(plain, page, fault_kind::write_protect, true).cause,
            fault_flag::write_protect | fault_flag::write);
}

TEST(is_readable, tells_what_a_read_would_meet) {
  const auto memory = mapping::shared(2 * page_size());
  const auto begin = memory.range().begin();
  EXPECT_TRUE(is_readable(begin + 5));
  ASSERT_EQ(::ftruncate(memory.file(), static_cast<off_t>(page_size())), 0);
  EXPECT_FALSE(is_readable(begin + page_size()));
  ASSERT_EQ(::mprotect(memory.bytes().data(), page_size(), PROT_NONE), 0);
  EXPECT_FALSE(is_readable(begin + 5));
  EXPECT_FALSE(is_readable(test::unmapped_page().begin()));
}

TEST(is_writable, tells_what_a_write_would_meet_and_writes_nothing) {
  const auto memory = mapping::anonymous(2 * page_size());
  const auto begin = memory.range().begin();
  test::write_byte(begin, 5);
  EXPECT_TRUE(is_writable(begin + 1));
  EXPECT_EQ(test::look(begin), test::shows(5));
  ASSERT_EQ(::mprotect(memory.bytes().data(), page_size(), PROT_READ), 0);
  EXPECT_FALSE(is_writable(begin));
  EXPECT_TRUE(is_writable(begin + page_size()));
  EXPECT_FALSE(is_writable(test::unmapped_page().begin()));
}

TEST(is_in_core, tells_what_the_page_cache_has) {
  const auto memory = mapping::shared(2 * page_size());
  test::write_byte(memory.alias().range().begin(), 1);
  EXPECT_TRUE(is_in_core(memory.range().begin() + 5));
  EXPECT_FALSE(is_in_core(memory.range().begin() + page_size() + 5));
  EXPECT_FALSE(is_in_core(test::unmapped_page().begin()));
}

}  // namespace
}  // namespace uffd::detail
