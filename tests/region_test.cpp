// SPDX-License-Identifier: MIT
// What a region's end leaves behind, for those who wait and those who come later.
#include "uffd/region.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <optional>
#include <utility>

#include "support/events.hpp"
#include "support/memory.hpp"
#include "support/on_every_kind.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"

namespace uffd {
namespace {

using test::look;
using test::shows;

// Where the kernel can't poison, the whole range is protected instead: SIGSEGV, also for what is
// there.
class region_on_memory : public test::on_every_kind {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::poison));
    UFFDPP_REQUIRE(test::pagemap_scan());
    on_every_kind::SetUp();
  }

  region begin_region(flags<register_mode> modes = register_mode::missing) const {
    return {on(), memory().mapping(), modes};
  }
};
UFFDPP_ON_EVERY_KIND(region_on_memory);

TEST_P(region_on_memory, tells_what_was_registered) {
  const region registered(on(), memory().mapping(), register_mode::missing, 42);
  EXPECT_EQ(registered.info().range, memory().range());
  EXPECT_EQ(registered.info().page_size, page_size());
  EXPECT_EQ(registered.info().modes, register_mode::missing);
  EXPECT_TRUE(registered.info().ioctls.has(range_ioctl::copy | range_ioctl::wake));
  EXPECT_EQ(registered.info().tag, 42u);
}

TEST_P(region_on_memory, end_unregisters) {
  begin_region().complete();
  EXPECT_EQ(on().copy(memory().begin(), bytes(7)).error(), condition::not_registered);
}

TEST_P(region_on_memory, end_makes_what_is_missing_inaccessible_and_leaves_what_is_there) {
  {
    const auto registered = begin_region();
    ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
  }
  EXPECT_EQ(look(memory().at(0)), test::takes_sigbus);
  EXPECT_EQ(look(memory().at(1)), shows(7));
  EXPECT_EQ(look(memory().at(2)), test::takes_sigbus);
  EXPECT_EQ(test::try_write(memory().at(3), 1), test::takes_sigbus);
}

TEST_P(region_on_memory, end_after_complete_leaves_zeroes) {
  {
    auto registered = begin_region();
    ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
    registered.complete();
  }
  EXPECT_EQ(look(memory().at(0)), shows(0));
  EXPECT_EQ(look(memory().at(1)), shows(7));
}

TEST_P(region_on_memory, end_while_faults_wait_gives_them_sigbus) {
  std::optional registered = begin_region();
  test::toucher reader(memory().at(0));
  test::toucher writer(memory().at(2), 9);
  ASSERT_FALSE(test::read_events(on()).empty());
  EXPECT_TRUE(reader.waits());
  EXPECT_TRUE(writer.waits());
  registered.reset();
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
  EXPECT_EQ(writer.saw(), test::takes_sigbus);
}

TEST_P(region_on_memory, end_after_complete_while_faults_wait_gives_them_zeroes) {
  std::optional registered = begin_region();
  test::toucher reader(memory().at(0));
  ASSERT_TRUE(test::next_fault(on()));
  registered->complete();
  registered.reset();
  EXPECT_EQ(reader.saw(), shows(0));
}

TEST_P(region_on_memory, end_lets_writers_to_protected_pages_go_on) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  std::memset(memory().bytes().data(), 7, memory().size());
  std::optional registered = begin_region(register_mode::write_protect);
  ASSERT_TRUE(on().write_protect(memory().range()));
  test::toucher writer(memory().begin(), 9);
  ASSERT_TRUE(test::next_fault(on()));
  registered.reset();
  EXPECT_EQ(writer.saw(), shows(9));
  EXPECT_EQ(test::try_write(memory().at(1), 8), shows(8));
}

// Nothing was missing by contract: a write-protect registration says nothing about missing pages.
TEST_P(region_on_memory, end_for_write_protect_alone_leaves_missing_pages_as_they_are) {
  UFFDPP_REQUIRE(can(register_mode::write_protect));
  { const auto registered = begin_region(register_mode::write_protect); }
  EXPECT_EQ(look(memory().at(0)), shows(0));
}

// A marker on a missing page hides it from a scan, and from POISON.
TEST_P(region_on_memory, end_makes_missing_pages_with_a_write_protect_marker_inaccessible) {
  const auto modes = register_mode::missing | register_mode::write_protect;
  UFFDPP_REQUIRE(can(modes));
  {
    const auto registered = begin_region(modes);
    ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
    ASSERT_TRUE(on().write_protect(memory().range()));
  }
  EXPECT_EQ(look(memory().at(0)), test::takes_sigbus);
  EXPECT_EQ(test::try_write(memory().at(1), 8), shows(8));
  EXPECT_EQ(look(memory().at(2)), test::takes_sigbus);
}

TEST_P(region_on_memory, end_keeps_poisoned_pages_poisoned) {
  {
    const auto registered = begin_region();
    ASSERT_TRUE(on().poison(memory().page(0)));
    ASSERT_TRUE(on().copy(memory().at(1), bytes(7, 3)));
  }
  EXPECT_EQ(look(memory().at(0)), test::takes_sigbus);
  EXPECT_EQ(look(memory().at(1)), shows(7));
}

TEST_P(region_on_memory, end_of_a_part_leaves_the_rest_registered) {
  std::optional<region> first(std::in_place, on(), memory().page(0, 2), register_mode::missing,
                              page_size());
  const region second(on(), memory().page(2, 2), register_mode::missing, page_size());
  first.reset();
  EXPECT_EQ(look(memory().at(1)), test::takes_sigbus);
  ASSERT_TRUE(on().copy(memory().at(2), bytes(7)));
  EXPECT_EQ(look(memory().at(2)), shows(7));
}

TEST_P(region_on_memory, end_after_munmap_changes_nothing) {
  std::optional registered = begin_region();
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  unmap();
  registered.reset();
  EXPECT_EQ(reader.saw(), test::takes_sigsegv);
}

TEST(region, end_makes_missing_pages_with_a_marker_inaccessible_behind_somebody_elses_memory_too) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_unpopulated | feature::poison));
  UFFDPP_REQUIRE(test::pagemap_scan());
  const auto on = handle::open({.required = feature::wp_unpopulated});
  const test::memory memory(test::memory_kind::anonymous, 4);
  {
    const region ending(on, memory.range(), register_mode::missing | register_mode::write_protect);
    ASSERT_TRUE(on.write_protect(memory.range()));
    ASSERT_NE(::mmap(memory.bytes().data() + memory.page_size(), memory.page_size(),
                     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
              MAP_FAILED);
  }
  EXPECT_EQ(look(memory.at(0)), test::takes_sigbus);
  EXPECT_EQ(look(memory.at(1)), shows(0)) << "somebody else's memory";
  EXPECT_EQ(look(memory.at(2)), test::takes_sigbus);
  EXPECT_EQ(look(memory.at(3)), test::takes_sigbus);
}

class region_on_shared_memory : public region_on_memory {
 protected:
  void SetUp() override {
    region_on_memory::SetUp();
    if (!IsSkipped()) UFFDPP_REQUIRE(can(register_mode::minor));
  }
  // Makes the page present in the page cache, as another process would.
  void fill(std::size_t page) const {
    const auto alias = memory().mapping().alias();
    test::write_byte(alias.range().begin() + page * page_size(), 7);
  }
};
UFFDPP_ON_KINDS(region_on_shared_memory, test::shared_kinds);

TEST_P(region_on_shared_memory, end_gives_minor_waiters_sigbus) {
  fill(0);
  std::optional registered = begin_region(register_mode::minor);
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  registered.reset();
  EXPECT_EQ(reader.saw(), test::takes_sigbus);
}

TEST_P(region_on_shared_memory, end_after_complete_shows_minor_waiters_the_page) {
  fill(0);
  std::optional registered = begin_region(register_mode::minor);
  test::toucher reader(memory().begin());
  ASSERT_TRUE(test::next_fault(on()));
  registered->complete();
  registered.reset();
  EXPECT_EQ(reader.saw(), shows(7));
}

TEST_P(region_on_shared_memory, end_leaves_the_other_mappings_alone) {
  const auto alias = memory().mapping().alias();
  {
    const auto registered = begin_region();
    ASSERT_TRUE(on().copy(memory().at(1), bytes(7)));
  }
  EXPECT_EQ(look(alias.range().begin()), shows(0));
  EXPECT_EQ(look(alias.range().begin() + page_size()), shows(7));
}

}  // namespace
}  // namespace uffd
