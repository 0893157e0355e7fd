// SPDX-License-Identifier: MIT
// A write-protect marker on a missing page: ZEROPAGE, MOVE and POISON answer EEXIST although
// nothing is there, and whoever waits would be woken without end.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <optional>

#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/resolve.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;

// All of memory() is missing and has markers, and a thread waits to read its first page.
class resolve_over_a_marker : public test::on_every_kind {
 protected:
  static constexpr auto modes = register_mode::missing | register_mode::write_protect;

  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated | feature::poison));
    UFFDPP_REQUIRE(can(modes));
    on_every_kind::SetUp();
    if (IsSkipped()) return;
    serve(modes);
    ASSERT_TRUE(on().write_protect(memory().range()));
    reader_.emplace(memory().begin());
    const auto fault = test::next_fault(on());
    ASSERT_TRUE(fault);
    ASSERT_EQ(fault->kind(), fault_kind::missing);
  }
  void TearDown() override {
    if (!reader_) return;
    if (IsSkipped())
      static_cast<void>(resolve::copy(on(), memory().begin(), bytes(0), {}, page_size()));
    // A woken reader that found nothing would wait again.
    EXPECT_TRUE(reader_->finishes());
  }

  test::toucher& reader() { return *reader_; }
  // Whether the next write to a page that is there waits, and is let go on.
  bool first_page_is_protected() {
    test::toucher writer(memory().begin(), 9);
    const bool waits = writer.waits();
    EXPECT_TRUE(on().write_unprotect(memory().page(0)));
    EXPECT_EQ(writer.saw(), shows(9));
    return waits;
  }

 private:
  std::optional<test::toucher> reader_;
};
UFFDPP_ON_EVERY_KIND(resolve_over_a_marker);

TEST_P(resolve_over_a_marker, copy_installs_the_page) {
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), bytes(7), {}, page_size()).is_resolved());
  EXPECT_EQ(reader().saw(), shows(7));
}

TEST_P(resolve_over_a_marker, copy_write_protected_keeps_the_mark) {
  EXPECT_TRUE(resolve::copy(on(), memory().begin(), bytes(7), fill_mode::write_protect, page_size())
                  .is_resolved());
  EXPECT_EQ(reader().saw(), shows(7));
  EXPECT_TRUE(first_page_is_protected());
}

TEST_P(resolve_over_a_marker, poison_gets_past_it) {
  EXPECT_TRUE(resolve::poison(on(), memory().page(0), page_size()).is_resolved());
  EXPECT_EQ(reader().saw(), test::takes_sigbus);
}

TEST_P(resolve_over_a_marker, poison_of_several_pages_gets_past_all) {
  EXPECT_TRUE(resolve::poison(on(), memory().range(), page_size()).is_resolved());
  EXPECT_EQ(reader().saw(), test::takes_sigbus);
  EXPECT_EQ(look(memory().at(3)), test::takes_sigbus);
}

TEST_P(resolve_over_a_marker, unprotect_wakes_and_the_fault_comes_again) {
  EXPECT_TRUE(resolve::unprotect(on(), memory().page(0)).is_resolved());
  ASSERT_TRUE(test::next_fault(on()));
  EXPECT_TRUE(resolve::poison(on(), memory().page(0), page_size()).is_resolved());
}

// The mark of a page that is there is no marker: it stays.
TEST_P(resolve_over_a_marker, poison_of_a_present_protected_page_changes_nothing) {
  ASSERT_TRUE(on().copy(memory().begin(), bytes(7), fill_mode::write_protect));
  EXPECT_TRUE(resolve::poison(on(), memory().page(0), page_size()).is_resolved());
  EXPECT_EQ(reader().saw(), shows(7));
  EXPECT_TRUE(first_page_is_protected());
}

class resolve_over_a_private_marker : public resolve_over_a_marker {};
UFFDPP_ON_KINDS(resolve_over_a_private_marker,
                (std::array{test::memory_kind::anonymous, test::memory_kind::private_file}));

TEST_P(resolve_over_a_private_marker, zeropage_installs_a_page_that_stays_write_protected) {
  EXPECT_TRUE(resolve::zeropage(on(), memory().page(0)).is_resolved());
  EXPECT_EQ(reader().saw(), shows(0));
  EXPECT_TRUE(first_page_is_protected());
}

TEST_P(resolve_over_a_private_marker, zeropage_of_several_pages_keeps_every_mark) {
  EXPECT_TRUE(resolve::zeropage(on(), memory().range()).is_resolved());
  EXPECT_EQ(reader().saw(), shows(0));
  test::toucher writer(memory().at(3), 9);
  EXPECT_TRUE(writer.waits());
  ASSERT_TRUE(on().write_unprotect(memory().range()));
  EXPECT_EQ(writer.saw(), shows(9));
}

class resolve_over_a_shared_marker : public resolve_over_a_marker {};
UFFDPP_ON_KINDS(resolve_over_a_shared_marker, test::shared_kinds);

TEST_P(resolve_over_a_shared_marker, continue_maps_the_page) {
  UFFDPP_REQUIRE(can(register_mode::minor));
  serve(modes | register_mode::minor);
  const auto alias = memory().mapping().alias();
  test::write_byte(alias.range().begin(), 7);
  EXPECT_TRUE(resolve::continue_(on(), memory().page(0), {}, page_size()).is_resolved());
  EXPECT_EQ(reader().saw(), shows(7));
}

// The kernel's ZEROPAGE has no mode that would keep the mark there.
TEST_P(resolve_over_a_shared_marker, zeropage_drops_the_mark_or_fails_for_huge_pages) {
  const auto result = resolve::zeropage(on(), memory().page(0), page_size());
  if (test::is_huge(GetParam())) {
    EXPECT_EQ(result.error(), std::errc::invalid_argument);
    ASSERT_TRUE(on().copy(memory().begin(), bytes(0)));
    return;
  }
  EXPECT_TRUE(result.is_resolved());
  EXPECT_EQ(reader().saw(), shows(0));
  EXPECT_EQ(test::try_write(memory().begin(), 9), shows(9));
}

class resolve_over_an_anonymous_marker : public resolve_over_a_marker {};
UFFDPP_ON_KINDS(resolve_over_an_anonymous_marker, (std::array{test::memory_kind::anonymous}));

TEST_P(resolve_over_an_anonymous_marker, move_gets_past_it) {
  UFFDPP_REQUIRE(test::kernel_has(feature::move));
  const test::memory source(test::memory_kind::anonymous, 1);
  test::write_byte(source.begin(), 7);
  EXPECT_TRUE(resolve::move(on(), memory().begin(), source.range()).is_resolved());
  EXPECT_EQ(reader().saw(), shows(7));
}

TEST_P(resolve_over_an_anonymous_marker, move_of_a_hole_fails_with_EFAULT) {
  UFFDPP_REQUIRE(test::kernel_has(feature::move));
  const test::memory hole(test::memory_kind::anonymous, 1);
  EXPECT_EQ(resolve::move(on(), memory().begin(), hole.range()).error(), std::errc::bad_address);
  ASSERT_TRUE(on().copy(memory().begin(), bytes(0)));
}

}  // namespace
}  // namespace uffd
