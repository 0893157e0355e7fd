// SPDX-License-Identifier: MIT
// What the operations do to each kind of memory, and whom they wake.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>

#include "support/continue_protects.hpp"
#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;

class handle_on_memory : public test::on_every_kind {};
UFFDPP_ON_EVERY_KIND(handle_on_memory);

TEST_P(handle_on_memory, register_range_answers_what_may_be_done) {
  const auto offered = serve();
  EXPECT_TRUE(offered.has(range_ioctl::wake | range_ioctl::copy)) << to_string(offered);
  EXPECT_FALSE(offered.has(range_ioctl::write_protect)) << to_string(offered);
  EXPECT_EQ(offered.has(range_ioctl::zeropage), !test::is_huge(GetParam())) << to_string(offered);
}

TEST_P(handle_on_memory, register_range_offers_what_the_modes_need) {
  auto modes = register_mode::missing | register_mode::write_protect;
  if (test::is_shared(GetParam())) modes |= register_mode::minor;
  UFFDPP_REQUIRE(can(modes));
  const auto offered = serve(modes);
  EXPECT_TRUE(offered.has(range_ioctl::write_protect)) << to_string(offered);
  EXPECT_EQ(offered.has(range_ioctl::continue_), test::is_shared(GetParam()));
}

TEST_P(handle_on_memory, register_range_takes_every_combination_of_modes_or_refuses_it) {
  const bool has_minor = GetParam() != test::memory_kind::anonymous;
  const auto all = register_mode::missing | register_mode::write_protect | register_mode::minor;
  for (std::uint64_t bits = 0; bits <= all.bits(); ++bits) {
    const auto modes = flags<register_mode>::from_bits(bits);
    if (!can(modes).empty()) continue;
    if (bits == 0 || (modes.has(register_mode::minor) && !has_minor)) {
      EXPECT_EQ(test::thrown([&] { serve(modes); }), EINVAL) << to_string(modes);
      continue;
    }
    const auto offered = serve(modes);
    EXPECT_TRUE(offered.has(range_ioctl::wake)) << to_string(modes);
    EXPECT_TRUE(offered.has(range_ioctl::copy) || !modes.has(register_mode::missing));
    EXPECT_EQ(offered.has(range_ioctl::write_protect), modes.has(register_mode::write_protect));
    EXPECT_EQ(offered.has(range_ioctl::continue_), modes.has(register_mode::minor));
    EXPECT_TRUE(on().unregister(memory().range())) << to_string(modes);
  }
}

TEST_P(handle_on_memory, register_range_again_adds_modes) {
  const auto both = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(can(both));
  serve();
  EXPECT_TRUE(serve(both).has(range_ioctl::copy | range_ioctl::write_protect));
}

TEST_P(handle_on_memory, copy_installs_pages_and_wakes_who_waits) {
  serve();
  test::toucher first(memory().at(0));
  const auto fault = test::next_fault(on());
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->address, memory().begin());
  EXPECT_EQ(fault->kind(), fault_kind::missing);
  EXPECT_FALSE(fault->is_write());
  EXPECT_TRUE(first.waits());
  const auto result = on().copy(memory().begin(), bytes(7, 2));
  EXPECT_TRUE(result) << result.error();
  EXPECT_EQ(result.bytes, 2 * page_size());
  EXPECT_EQ(first.saw(), shows(7));
  EXPECT_EQ(look(memory().at(2) - 1), shows(7));
}

TEST_P(handle_on_memory, one_copy_wakes_every_thread_that_waits_for_the_page) {
  serve();
  test::toucher first(memory().begin());
  test::toucher second(memory().begin() + 1);
  test::toucher third(memory().begin() + 2, 9);
  for (std::size_t seen = 0; seen < 3;) {
    const auto events = test::read_events(on());
    ASSERT_FALSE(events.empty());
    seen += events.size();
  }
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7)));
  EXPECT_EQ(first.saw(), shows(7));
  EXPECT_EQ(second.saw(), shows(7));
  EXPECT_EQ(third.saw(), shows(9));
}

TEST_P(handle_on_memory, copy_that_does_not_wake_leaves_the_waiter_to_wake) {
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::dont_wake));
  EXPECT_TRUE(reader.waits());
  const auto woken = on().wake(memory().page(0));
  EXPECT_TRUE(woken);
  EXPECT_EQ(woken.bytes, page_size());
  EXPECT_EQ(reader.saw(), shows(7));
}

TEST_P(handle_on_memory, copy_needs_no_aligned_source) {
  serve();
  auto source = test::filled(page_size() + 1, 7);
  source.front() = std::byte{1};
  EXPECT_TRUE(on().copy(memory().begin(), std::span(source).subspan(1)));
  EXPECT_EQ(look(memory().begin()), shows(7));
}

TEST_P(handle_on_memory, copy_write_protected_makes_the_next_write_wait) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  serve(register_mode::missing | register_mode::write_protect);
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::write_protect));
  EXPECT_EQ(look(memory().begin()), shows(7));
  test::toucher writer(memory().begin(), 9);
  const auto fault = test::next_fault(on());
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind(), fault_kind::write_protect);
  EXPECT_TRUE(fault->is_write());
  ASSERT_TRUE(on().write_unprotect(memory().page(0)));
  EXPECT_EQ(writer.saw(), shows(9));
}

TEST_P(handle_on_memory, zeropage_shows_zeroes_but_is_EINVAL_for_huge_pages) {
  serve();
  const auto result = on().zeropage(memory().page(1, 2));
  if (test::is_huge(GetParam())) {
    EXPECT_EQ(result.number, EINVAL);
    EXPECT_EQ(result.bytes, 0u);
    return;
  }
  EXPECT_TRUE(result) << result.error();
  EXPECT_EQ(result.bytes, 2 * page_size());
  EXPECT_EQ(look(memory().at(1)), shows(0));
}

TEST_P(handle_on_memory, poison_makes_the_next_access_take_sigbus_and_copy_heals_it) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  const auto result = on().poison(memory().page(0));
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result.bytes, page_size());
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
  EXPECT_EQ(test::try_write(memory().begin(), 1), test::takes_sigbus);
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7)));
  EXPECT_EQ(look(memory().begin()), shows(7));
}

TEST_P(handle_on_memory, write_protect_makes_writes_wait_and_unprotect_lets_them_go_on) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  std::memset(memory().bytes().data(), 7, memory().size());
  serve(register_mode::write_protect);
  const auto result = on().write_protect(memory().range());
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result.bytes, memory().size());
  EXPECT_EQ(look(memory().at(1)), shows(7));
  test::toucher writer(memory().at(1), 9);
  ASSERT_TRUE(test::next_fault(on()));
  ASSERT_TRUE(on().write_unprotect(memory().page(1), wake_mode::dont_wake));
  EXPECT_TRUE(writer.waits());
  ASSERT_TRUE(on().write_unprotect(memory().page(1)));
  EXPECT_EQ(writer.saw(), shows(9));
}

TEST_P(handle_on_memory, unregister_wakes_missing_waiters_into_zeroes) {
  serve();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  const auto result = on().unregister(memory().range());
  EXPECT_TRUE(result) << result.error();
  EXPECT_EQ(reader.saw(), shows(0));
}

// The kernel alone would leave this writer asleep.
TEST_P(handle_on_memory, unregister_wakes_write_protect_waiters) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  std::memset(memory().bytes().data(), 7, memory().size());
  serve(register_mode::write_protect);
  ASSERT_TRUE(on().write_protect(memory().range()));
  test::toucher writer(memory().begin(), 9);
  ASSERT_TRUE(test::next_fault(on()));
  EXPECT_TRUE(on().unregister(memory().range()));
  EXPECT_EQ(writer.saw(), shows(9));
}

class handle_on_shared_memory : public handle_on_memory {
 protected:
  void SetUp() override {
    handle_on_memory::SetUp();
    if (IsSkipped()) return;
    UFFDPP_REQUIRE(can(register_mode::minor));
    alias_.emplace(memory().mapping().alias());
    std::memset(alias_->bytes().data(), 7, alias_->bytes().size());
  }
  // The same pages, all there, at another address.
  const mapping& alias() const { return *alias_; }

 private:
  std::optional<mapping> alias_;
};
UFFDPP_ON_KINDS(handle_on_shared_memory, test::shared_kinds);

TEST_P(handle_on_shared_memory, continue_maps_what_is_in_the_page_cache_and_wakes) {
  serve(register_mode::missing | register_mode::minor);
  test::toucher reader(memory().begin());
  const auto fault = test::next_fault(on());
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind(), fault_kind::minor);
  test::write_byte(alias().range().begin(), 8);
  const auto result = on().continue_(memory().page(0, 2));
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result.bytes, 2 * page_size());
  EXPECT_EQ(reader.saw(), shows(8));
}

TEST_P(handle_on_shared_memory, continue_write_protected_makes_the_next_write_wait) {
  const auto modes = register_mode::minor | register_mode::write_protect;
  UFFDPP_REQUIRE(can(modes));
  UFFDPP_REQUIRE(test::continue_protects());
  serve(modes);
  ASSERT_TRUE(on().continue_(memory().page(0), fill_mode::write_protect));
  EXPECT_EQ(look(memory().begin()), shows(7));
  test::toucher writer(memory().begin(), 9);
  const auto fault = test::next_fault(on());
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->kind(), fault_kind::write_protect);
  ASSERT_TRUE(on().write_unprotect(memory().page(0)));
  EXPECT_EQ(writer.saw(), shows(9));
}

TEST_P(handle_on_shared_memory, poison_takes_the_place_of_a_page_that_is_only_in_the_page_cache) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  serve(register_mode::minor);
  ASSERT_TRUE(on().poison(memory().page(0)));
  EXPECT_EQ(look(memory().begin()), test::takes_sigbus);
  EXPECT_EQ(look(alias().range().begin()), shows(7));
}

// The kernel alone would leave this reader asleep.
TEST_P(handle_on_shared_memory, unregister_wakes_minor_waiters) {
  serve(register_mode::minor);
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  EXPECT_TRUE(on().unregister(memory().range()));
  EXPECT_EQ(reader.saw(), shows(7));
}

}  // namespace
}  // namespace uffd
