// SPDX-License-Identifier: MIT
// A child that faults, moves its memory, faults again, drops it and faults once more, followed by a
// handler, on each kind of memory.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <tuple>

#include "support/forked.hpp"
#include "support/heard.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/told.hpp"
#include "uffd/uffd.hpp"

namespace {

namespace test = uffd::test;

constexpr std::size_t pages = 4;

// Fills pages by their offset, and with zeroes once they were dropped; counts what it is told.
struct recorder {
  uffd::flags<uffd::fill_mode> mode;
  std::atomic<bool> dropped{false};
  // Before and after the drop.
  std::array<test::told_pages, 2> missing;
  std::array<test::told_pages, 2> write_protect;
  std::atomic<int> forks{0};
  test::heard<uffd::remap_event> moves;
  test::heard<uffd::remove_event> removals;

  uffd::resolution on_page_fault(uffd::fault& raised) {
    if (raised.kind() == uffd::fault_kind::write_protect) {
      write_protect.at(dropped ? 1 : 0).add(raised.offset());
      return raised.unprotect();
    }
    missing.at(dropped ? 1 : 0).add(raised.offset());
    const auto page = raised.offset() / raised.page().size();
    std::memset(raised.buffer().data(), dropped ? 0 : test::byte_of(page), raised.buffer().size());
    return raised.copy(raised.buffer(), mode);
  }
  void on_fork(const uffd::fork_event&) { ++forks; }
  void on_remap(const uffd::remap_event& seen) { moves.add(seen); }
  void on_remove(const uffd::remove_event& seen) {
    dropped = true;
    removals.add(seen);
  }
};

class events : public testing::TestWithParam<std::tuple<test::memory_kind, bool>> {
 protected:
  static test::memory_kind kind() { return std::get<0>(GetParam()); }
  static bool protects() { return std::get<1>(GetParam()); }
  static std::size_t page_size() { return test::page_size_of(kind()); }
  static uffd::flags<uffd::register_mode> modes() {
    uffd::flags<uffd::register_mode> wanted = uffd::register_mode::missing;
    if (protects()) wanted |= uffd::register_mode::write_protect;
    return wanted;
  }

  void SetUp() override {
    UFFDPP_REQUIRE(test::followed_forks());
    UFFDPP_REQUIRE(test::kernel_has(uffd::feature::event_remap | uffd::feature::event_remove));
    // The child's pages come beside those that two mappings reserve.
    UFFDPP_REQUIRE(test::available(kind(), 3 * pages, modes()));
  }

  // What the child sees in pages [first, last) at `begin`, and that it can write there; 0 or which
  // page is wrong.
  static int visit(std::uintptr_t begin, std::size_t first, std::size_t last, bool zeroes) {
    for (std::size_t i = first; i < last; ++i) {
      const auto address = begin + i * page_size();
      if (test::look(address) != test::shows(zeroes ? 0 : test::byte_of(i)) ||
          test::try_write(address + 1, 9) != test::shows(9))
        return static_cast<int>(i) + 1;
    }
    return 0;
  }
};
INSTANTIATE_TEST_SUITE_P(memory, events,
                         testing::Combine(testing::ValuesIn(test::every_kind), testing::Bool()),
                         [](const auto& made) {
                           return std::string(test::name_of(std::get<0>(made.param))) +
                                  (std::get<1>(made.param) ? "_protected" : "");
                         });

TEST_P(events, of_a_child_are_followed_while_it_faults) {
  recorder told;
  if (protects()) told.mode = uffd::fill_mode::write_protect;
  test::serving served(kind(), pages, std::ref(told), modes());
  const test::memory place(kind(), pages);
  const auto from = served.memory().range();
  const auto end = test::in_child([&] {
    if (const int wrong = visit(from.begin(), 0, pages / 2, false); wrong != 0) return 10 + wrong;
    void* const to = place.bytes().data();
    if (::mremap(served.memory().bytes().data(), from.size(), from.size(),
                 MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
      return 1;
    if (const int wrong = visit(place.begin(), pages / 2, pages, false); wrong != 0)
      return 20 + wrong;
    if (const int wrong = visit(place.begin(), 0, pages, false); wrong != 0) return 30 + wrong;
    const auto advice = test::is_shared(kind()) ? MADV_REMOVE : MADV_DONTNEED;
    if (::madvise(to, from.size(), advice) != 0) return 2;
    const int wrong = visit(place.begin(), 0, pages, true);
    return wrong != 0 ? 40 + wrong : 0;
  });
  EXPECT_EQ(end, test::exits_with(0));
  EXPECT_EQ(told.forks, 1);
  const auto moved = told.moves.only();
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->from, from);
  EXPECT_EQ(moved->to, place.begin());
  const auto removed = told.removals.only();
  ASSERT_TRUE(removed);
  EXPECT_EQ(removed->range, place.range());
  for (auto& pages_told : told.missing) EXPECT_EQ(pages_told.count(), pages);
  for (auto& pages_told : told.write_protect) EXPECT_EQ(pages_told.count(), protects() ? pages : 0);
}

}  // namespace
