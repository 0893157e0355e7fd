// SPDX-License-Identifier: MIT
#include "detail/signal_ranges.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "support/background.hpp"
#include "support/forked.hpp"
#include "support/refusal.hpp"

namespace uffd::detail {
namespace {

const std::size_t page = page_size();

class signal_ranges_of_a_process : public testing::Test {
 protected:
  // Who serves there.
  const void* client_at(std::uintptr_t number) {
    const void* client = nullptr;
    const bool found = ranges_.find(
        number * page, [&](const range_table::entry& piece) { client = piece.client; });
    return found ? client : nullptr;
  }

  signal_ranges& ranges_ = signal_ranges::here();
};

TEST_F(signal_ranges_of_a_process, are_found_by_address) {
  served_range first;
  first.info.range = {10 * page, 2 * page};
  served_range second;
  second.info.range = {12 * page, page};
  ranges_.add(first);
  ranges_.add(second);
  EXPECT_EQ(client_at(9), nullptr);
  EXPECT_EQ(client_at(10), &first);
  EXPECT_EQ(client_at(11), &first);
  EXPECT_EQ(client_at(12), &second);
  EXPECT_EQ(client_at(13), nullptr);
  ranges_.remove(first);
  EXPECT_EQ(client_at(10), nullptr);
  EXPECT_EQ(client_at(12), &second);
  ranges_.remove(second);
}

TEST_F(signal_ranges_of_a_process, may_not_overlap) {
  served_range first;
  first.info.range = {10 * page, 2 * page};
  served_range second;
  second.info.range = {11 * page, 2 * page};
  ranges_.add(first);
  EXPECT_EQ(test::thrown([&] { ranges_.add(second); }), EEXIST);
  ranges_.remove(first);
  ranges_.add(second);
  EXPECT_EQ(client_at(11), &second);
  ranges_.remove(second);
}

TEST_F(signal_ranges_of_a_process, are_remembered_for_a_while_whoever_takes_their_place) {
  served_range range;
  range.info.range = {20 * page, 2 * page};
  EXPECT_FALSE(ranges_.is_late(20 * page));
  ranges_.add(range);
  EXPECT_FALSE(ranges_.is_late(20 * page));
  ranges_.remove(range);
  EXPECT_TRUE(ranges_.is_late(21 * page));
  EXPECT_FALSE(ranges_.is_late(22 * page));
  served_range next;
  next.info.range = {21 * page, 2 * page};
  ranges_.add(next);
  EXPECT_TRUE(ranges_.is_late(20 * page));
  ranges_.remove(next);
  EXPECT_TRUE(ranges_.is_late(22 * page));
  // As many as are remembered however long ago they ended.
  for (std::uintptr_t i = 1; i < 64; ++i) {
    served_range other;
    other.info.range = {(100 + i) * page, page};
    ranges_.add(other);
    ranges_.remove(other);
  }
  EXPECT_TRUE(ranges_.is_late(21 * page));
  EXPECT_TRUE(ranges_.is_late(163 * page));
}

// However many ended at once.
TEST_F(signal_ranges_of_a_process, are_forgotten_after_a_while_but_for_the_last) {
  served_range range;
  const auto end_at = [&](std::uintptr_t number) {
    range.info.range = {number * page, page};
    ranges_.add(range);
    ranges_.remove(range);
  };
  for (std::uintptr_t i = 0; i < 300; ++i) end_at(1000 + i);
  ::usleep(1'100'000);
  end_at(2000);
  EXPECT_FALSE(ranges_.is_late(1001 * page));
  EXPECT_FALSE(ranges_.is_late(1200 * page));
  EXPECT_TRUE(ranges_.is_late(1299 * page));
  EXPECT_TRUE(ranges_.is_late(2000 * page));
}

// A signal that comes again at once was raised by what is mapped there now.
TEST_F(signal_ranges_of_a_process, are_late_once_a_thread_and_end) {
  served_range range;
  range.info.range = {20 * page, page};
  for (int round = 0; round < 2; ++round) {
    ranges_.add(range);
    ranges_.remove(range);
    EXPECT_TRUE(ranges_.is_late(20 * page));
    EXPECT_FALSE(ranges_.is_late(20 * page));
    test::background([&] { EXPECT_TRUE(ranges_.is_late(20 * page)); });
  }
}

TEST_F(signal_ranges_of_a_process, that_never_were_registered_are_not_late) {
  served_range range;
  range.info.range = {40 * page, page};
  ranges_.add(range);
  ranges_.withdraw(range);
  EXPECT_FALSE(ranges_.is_late(40 * page));
  EXPECT_EQ(client_at(40), nullptr);
}

TEST_F(signal_ranges_of_a_process, are_remembered_though_another_was_refused_there) {
  served_range range;
  range.info.range = {50 * page, page};
  ranges_.add(range);
  ranges_.remove(range);
  ranges_.add(range);
  ranges_.withdraw(range);
  EXPECT_TRUE(ranges_.is_late(50 * page));
}

// Its memory is freed then.
TEST_F(signal_ranges_of_a_process, stay_while_somebody_looks_at_them) {
  for (const auto take_out : {&signal_ranges::remove, &signal_ranges::withdraw}) {
    served_range range;
    range.info.range = {60 * page, page};
    ranges_.add(range);
    std::unique_ptr<signal_ranges::guest> guest;
    ranges_.find(60 * page, [&](const range_table::entry& found) {
      guest = std::make_unique<signal_ranges::guest>(found);
    });
    ASSERT_TRUE(guest);
    test::background taking([&] { (ranges_.*take_out)(range); });
    EXPECT_TRUE(taking.blocks());
    guest.reset();
    EXPECT_TRUE(taking.finishes());
  }
}

TEST_F(signal_ranges_of_a_process, are_not_its_childrens) {
  served_range range;
  range.info.range = {30 * page, page};
  ranges_.add(range);
  EXPECT_EQ(signal_ranges::if_any(), &ranges_);
  EXPECT_EQ(test::in_child([&] {
              if (signal_ranges::if_any() != nullptr) return 1;
              auto& own = signal_ranges::here();
              if (&own == &ranges_ || signal_ranges::if_any() != &own) return 2;
              return own.find(30 * page, [](const range_table::entry&) {}) ? 3 : 0;
            }),
            test::exits_with(0));
  ranges_.remove(range);
}

TEST_F(signal_ranges_of_a_process, tell_the_first_handler_from_the_next) {
  int firsts = 0;
  for (int i = 1; i <= 2; ++i) {
    ranges_.add_handler([&] { ++firsts; });
    ranges_.add_handler([&] { ++firsts; });
    EXPECT_EQ(firsts, i);
    ranges_.remove_handler();
    ranges_.remove_handler();
  }
}

}  // namespace
}  // namespace uffd::detail
