// SPDX-License-Identifier: MIT
#include "uffd/pager/snapshot_source.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <vector>

#include "support/paging.hpp"
#include "support/refusal.hpp"
#include "support/scratch_folder.hpp"
#include "support/sight.hpp"
#include "support/snapshots.hpp"
#include "uffd/pager/pager.hpp"

namespace uffd {
namespace {

using test::bytes;

static_assert(page_source<snapshot_source> && !writable_source<snapshot_source>);

class lazily_restored : public test::every_pager {
 protected:
  lazily_restored() {
    test::clear_page(memory_, 3);
    const auto base = test::save(folder_ / "base", memory_);
    test::change_page(memory_, 1, 11);
    test::clear_page(memory_, 4);
    static_cast<void>(test::save_pages(folder_ / "delta", base, memory_, {1, 4}));
  }

  snapshot_chain chain() const { return snapshot_chain::open(folder_ / "delta"); }
  bytes restored() const {
    bytes to(memory_.size());
    chain().restore(to);
    return to;
  }

  test::scratch_folder folder_;
  bytes memory_ = test::random_pages(40, 1);
};
UFFDPP_FOR_EVERY_PAGER(lazily_restored);

TEST_P(lazily_restored, memory_is_what_it_was) {
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(snapshot_source(chain()));
  ASSERT_EQ(memory.bytes().size(), memory_.size());
  EXPECT_TRUE(std::equal(memory_.begin(), memory_.end(), memory.bytes().begin()));
  EXPECT_EQ(restored(), memory_);
}

TEST_P(lazily_restored, memory_can_be_written_and_the_snapshot_stays) {
  const test::any_pager pager(GetParam());
  map_options options;
  options.writes = write_policy::keep;
  const auto memory = pager->map(snapshot_source(chain()), options);
  constexpr std::array<std::size_t, 4> touched{0, 1, 3, 4};
  for (const std::size_t page : touched)
    memory.writable_bytes()[page * page_size()] = std::byte{77};
  auto expected = memory_;
  for (const std::size_t page : touched) expected[page * page_size()] = std::byte{77};
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), memory.bytes().begin()));
  EXPECT_EQ(restored(), memory_);
}

TEST_P(lazily_restored, damaged_page_is_sigbus_and_no_other_is) {
  const auto damaged = chain();
  test::victim(folder_ / "base").flip(damaged.files()[0].data_offset(0) + 20 * page_size() + 9);
  const test::any_pager pager(GetParam());
  map_options options;
  options.expected = access_pattern::random;
  const auto memory = pager->map(snapshot_source(damaged), options);
  EXPECT_EQ(test::look_at(memory, 20 * page_size()), test::takes_sigbus);
  EXPECT_EQ(memory.prefetch(memory.bytes().subspan(20 * page_size(), 1)), snapshot_error::damaged);
  for (std::size_t page = 0; page < 40; ++page) {
    if (page == 20) continue;
    const auto at = page * page_size();
    EXPECT_EQ(test::look_at(memory, at), test::shows(std::to_integer<int>(memory_[at])));
  }
}

TEST_P(lazily_restored, memory_of_huge_pages_may_have_small_ones) {
  constexpr std::size_t huge = std::size_t{2} << 20;
  std::vector<bytes> all{bytes(2 * huge)};
  test::change_page(all[0], 3, 5);
  test::change_page(all[0], huge / page_size() + 7, 6);
  static_cast<void>(test::save(folder_ / "huge", all, huge));
  const test::any_pager pager(GetParam());
  map_options options;
  options.unit = page_size();
  for (const auto& how : {map_options{}, options}) {
    const auto memory = pager->map(snapshot_source(snapshot_chain::open(folder_ / "huge")), how);
    EXPECT_TRUE(std::equal(all[0].begin(), all[0].end(), memory.bytes().begin()));
  }
}

TEST(snapshot_source, tells_who_it_is_and_how_it_is_read_best) {
  const test::scratch_folder folder;
  constexpr std::size_t huge = std::size_t{2} << 20;
  const std::vector<bytes> small{test::random_pages(1, 1), test::random_pages(2, 2)};
  static_cast<void>(test::save(folder / "small", small));
  static_cast<void>(test::save(folder / "huge", std::vector<bytes>{bytes(huge)}, huge));
  const auto chain = snapshot_chain::open(folder / "small");
  const snapshot_source first(chain);
  const snapshot_source second(chain, 1);
  EXPECT_EQ(second.size(), 2 * page_size());
  EXPECT_EQ(second.advice().unit, 0U);
  EXPECT_EQ(snapshot_source(snapshot_chain::open(folder / "huge")).advice().unit, huge);
  EXPECT_NE(first.identity(), second.identity());
  EXPECT_EQ(first.identity(), snapshot_source(snapshot_chain::open(folder / "small")).identity());
  EXPECT_NE(first.identity().find(to_string(chain.newest().identity())), std::string::npos);
  EXPECT_EQ(test::thrown([&] { snapshot_source(chain, 2); }), EINVAL);
}

TEST(snapshot_source, reads_its_area) {
  const test::scratch_folder folder;
  const std::vector<bytes> memory{test::random_pages(1, 1), test::random_pages(2, 2)};
  static_cast<void>(test::save(folder / "one", memory));
  const snapshot_source source(snapshot_chain::open(folder / "one"), 1);
  bytes to(page_size());
  const auto done = source.read(page_size(), to);
  EXPECT_EQ(done.bytes, page_size());
  EXPECT_FALSE(done.error);
  EXPECT_TRUE(std::equal(to.begin(), to.end(), &memory[1][page_size()]));
  test::victim(folder / "one").flip(snapshot_file::open(folder / "one").data_offset(1));
  EXPECT_EQ(source.read(0, to).error, snapshot_error::damaged);
  EXPECT_FALSE(is_transient(snapshot_error::damaged));
}

}  // namespace
}  // namespace uffd
