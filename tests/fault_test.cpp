// SPDX-License-Identifier: MIT
#include "uffd/fault.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <system_error>
#include <type_traits>

#include "support/awaited.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

static_assert(!std::is_copy_constructible_v<fault> && !std::is_move_constructible_v<fault>);

class fault_on : public testing::TestWithParam<test::memory_kind> {
 protected:
  std::size_t page() const { return test::page_size_of(GetParam()); }
};
UFFDPP_ON_EVERY_KIND(fault_on);

TEST_P(fault_on, tells_page_offset_region_and_cause) {
  UFFDPP_REQUIRE(test::available(GetParam(), 3));
  std::atomic<int> calls{0};
  std::optional<page_range> range;
  test::signal ready;
  test::serving served(GetParam(), 3, [&](fault& raised) {
    EXPECT_TRUE(ready.comes());
    ++calls;
    EXPECT_EQ(raised.page(), page_range(range->begin() + 2 * page(), page()));
    EXPECT_EQ(raised.offset(), 2 * page());
    EXPECT_EQ(raised.region().range, *range);
    EXPECT_EQ(raised.region().page_size, page());
    EXPECT_EQ(raised.space(), 0U);
    EXPECT_EQ(raised.kind(), fault_kind::missing);
    EXPECT_TRUE(raised.is_write());
    EXPECT_TRUE(raised.page().contains(raised.event().address));
    EXPECT_EQ(raised.buffer().size(), page());
    return raised.zeropage();
  });
  range = served.memory().range();
  ready.set();
  EXPECT_EQ(test::toucher(served.at(2) + 5, 1).saw(), test::shows(1));
  EXPECT_EQ(calls, 1);
}

TEST_P(fault_on, copy_shows_the_bytes) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2));
  test::serving served(GetParam(), 2, test::fill_by_offset());
  EXPECT_EQ(test::toucher(served.at(1) + page() - 1).saw(), test::shows(2));
  EXPECT_EQ(test::toucher(served.at(0), 9).saw(), test::shows(9));
  EXPECT_EQ(test::look(served.at(0) + 1), test::shows(1));
}

TEST_P(fault_on, copy_of_several_pages_serves_all_of_them) {
  UFFDPP_REQUIRE(test::available(GetParam(), 3));
  std::atomic<int> calls{0};
  test::serving served(GetParam(), 3, [&](fault& raised) {
    ++calls;
    return raised.copy(test::filled(3 * page(), 6));
  });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(6));
  EXPECT_EQ(test::toucher(served.at(2)).saw(), test::shows(6));
  EXPECT_EQ(calls, 1);
}

TEST_P(fault_on, copy_that_reaches_pages_which_are_there_keeps_those) {
  UFFDPP_REQUIRE(test::available(GetParam(), 3));
  test::serving served(GetParam(), 3, [&](fault& raised) {
    if (raised.offset() != 0) return test::fill(raised, 5);
    return raised.copy(test::filled(3 * page(), 6));
  });
  EXPECT_EQ(test::toucher(served.at(1)).saw(), test::shows(5));
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(6));
  EXPECT_EQ(test::look(served.at(1)), test::shows(5));
  EXPECT_EQ(test::toucher(served.at(2)).saw(), test::shows(6));
}

TEST_P(fault_on, copy_buffer_pads_a_short_page_with_zeroes) {
  UFFDPP_REQUIRE(test::available(GetParam(), 1));
  test::serving served(GetParam(), 1, [](fault& raised) {
    std::memset(raised.buffer().data(), 0xEE, raised.buffer().size());
    return raised.copy_buffer(100);
  });
  EXPECT_EQ(test::toucher(served.at(0) + 99).saw(), test::shows(0xEE));
  EXPECT_EQ(test::look(served.at(0) + 100), test::shows(0));
  EXPECT_EQ(test::look(served.at(0) + page() - 1), test::shows(0));
}

TEST_P(fault_on, zeropage_shows_zeroes) {
  UFFDPP_REQUIRE(test::available(GetParam(), 2));
  test::serving served(GetParam(), 2, [](fault& raised) {
    std::memset(raised.buffer().data(), 0xEE, raised.buffer().size());
    return raised.zeropage(raised.block(2 * raised.page().size()));
  });
  EXPECT_EQ(test::toucher(served.at(0) + 7).saw(), test::shows(0));
  EXPECT_EQ(test::toucher(served.at(1), 4).saw(), test::shows(4));
  EXPECT_FALSE(test::error_after_stop(served.handler()));
}

TEST_P(fault_on, poison_of_every_second_page_gives_SIGBUS_there_alone) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  UFFDPP_REQUIRE(test::available(GetParam(), 4));
  test::serving served(GetParam(), 4, [](fault& raised) {
    const auto page = raised.offset() / raised.page().size();
    return page % 2 == 0 ? raised.poison() : raised.copy_buffer(0);
  });
  for (std::size_t i = 0; i < 4; ++i) {
    const auto expected = i % 2 == 0 ? test::takes_sigbus : test::shows(0);
    EXPECT_EQ(test::toucher(served.at(i)).saw(), expected);
    EXPECT_EQ(test::look(served.at(i) + 1), expected) << "without a fault";
  }
}

TEST_P(fault_on, poison_gives_SIGBUS) {
  UFFDPP_REQUIRE(test::available(GetParam(), 1));
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  test::serving served(GetParam(), 1, [](fault& raised) { return raised.poison(); });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::takes_sigbus);
  EXPECT_EQ(test::look(served.at(0) + 1), test::takes_sigbus);
  EXPECT_FALSE(test::error_after_stop(served.handler())) << "the callback's own choice";
}

// Runs `body` in the callback for `page` of four anonymous ones, which are zero afterwards.
template <class Body>
void with_fault_on(std::size_t page, Body body,
                   fault_handler_options options = test::one_thread()) {
  test::signal done;
  test::serving served(
      test::memory_kind::anonymous, 4,
      [&](fault& raised) {
        if (raised.offset() == page * page_size()) body(raised);
        done.set();
        return raised.zeropage();
      },
      register_mode::missing, options);
  EXPECT_EQ(test::toucher(served.at(page)).saw(), test::shows(0));
  EXPECT_TRUE(done.comes());
}

TEST(fault, block_is_aligned_by_offset_and_cut_to_the_range) {
  const auto size = page_size();
  with_fault_on(3, [&](fault& raised) {
    const auto begin = raised.region().range.begin();
    EXPECT_EQ(raised.block(1), raised.page());
    EXPECT_EQ(raised.block(size), raised.page());
    EXPECT_EQ(raised.block(2 * size), page_range(begin + 2 * size, 2 * size));
    EXPECT_EQ(raised.block(4 * size), page_range(begin, 4 * size));
    EXPECT_EQ(raised.block(64 * size), page_range(begin, 4 * size));
    EXPECT_EQ(raised.block(std::size_t{1} << 63), page_range(begin, 4 * size));
  });
  with_fault_on(1, [&](fault& raised) {
    const auto begin = raised.region().range.begin();
    EXPECT_EQ(raised.block(2 * size), page_range(begin, 2 * size));
    EXPECT_EQ(raised.block(3 * size), raised.block(2 * size)) << "not cut to a power of two";
  });
}

TEST(fault, offset_of_counts_from_the_begin_of_the_served_range) {
  with_fault_on(3, [](fault& raised) {
    EXPECT_EQ(raised.offset_of(raised.page()), 3 * page_size());
    EXPECT_EQ(raised.offset_of(raised.block(2 * page_size())), 2 * page_size());
    EXPECT_EQ(raised.offset_of(raised.region().range), 0U);
  });
}

TEST(fault, ranges_outside_the_served_one_are_EINVAL) {
  with_fault_on(3, [](fault& raised) {
    const auto size = page_size();
    const auto all = raised.region().range;
    const auto two = test::filled(2 * size, 1);
    const auto one = test::filled(size, 1);
    const auto invalid = std::errc::invalid_argument;
    EXPECT_EQ(raised.copy(two).error(), invalid) << "beyond the end";
    EXPECT_EQ(raised.copy({all.begin() - size, size}, one).error(), invalid);
    EXPECT_EQ(raised.copy({all.end(), size}, one).error(), invalid);
    EXPECT_EQ(raised.copy(raised.page(), two).error(), invalid) << "sizes differ";
    EXPECT_EQ(raised.copy({}).error(), invalid);
    EXPECT_EQ(raised.zeropage({all.end(), size}).error(), invalid);
    EXPECT_EQ(raised.zeropage({raised.page().begin(), 0}).error(), invalid);
    EXPECT_EQ(raised.zeropage({raised.page().begin(), ~std::size_t{0}}).error(), invalid)
        << "wraps";
    EXPECT_EQ(raised.continue_({all.end(), size}).error(), invalid);
    EXPECT_EQ(raised.unprotect({all.begin() - size, size}).error(), invalid);
    EXPECT_EQ(raised.move(page_range(all.begin(), 2 * size)).error(), invalid);
  });
}

TEST(fault, copy_buffer_refuses_more_than_there_is) {
  fault_handler_options options = test::one_thread();
  options.buffer_size = 2 * page_size();
  with_fault_on(
      0,
      [](fault& raised) {
        const auto all = raised.region().range;
        EXPECT_EQ(raised.copy_buffer(page_size() + 1).error(), std::errc::invalid_argument);
        EXPECT_EQ(raised.copy_buffer(all, 0).error(), std::errc::invalid_argument);
        EXPECT_EQ(raised.buffer(4 * page_size()).size(), 2 * page_size());
        EXPECT_EQ(raised.buffer(10).size(), 10U);
      },
      options);
}

TEST(fault, move_takes_the_pages_from_elsewhere) {
  UFFDPP_REQUIRE(test::kernel_has(feature::move));
  const auto source = mapping::anonymous(2 * page_size());
  std::memset(source.bytes().data(), 6, source.bytes().size());
  test::serving served(2, [&](fault& raised) { return raised.move(source.range()); });
  EXPECT_EQ(test::toucher(served.at(0)).saw(), test::shows(6));
  EXPECT_EQ(test::toucher(served.at(1)).saw(), test::shows(6));
  EXPECT_EQ(test::look(source.range().begin()), test::shows(0));
}

TEST(fault, names_its_thread_where_that_was_negotiated) {
  UFFDPP_REQUIRE(test::kernel_has(feature::thread_id));
  std::atomic<pid_t> named{0};
  fault_handler_options options = test::one_thread();
  options.open.required = feature::thread_id;
  test::serving served(
      test::memory_kind::anonymous, 1,
      [&](fault& raised) {
        named = raised.event().thread_id.value_or(-1);
        return raised.zeropage();
      },
      register_mode::missing, options);
  test::toucher reader(served.at(0));
  const auto thread = reader.thread_id();
  EXPECT_EQ(reader.saw(), test::shows(0));
  EXPECT_EQ(named, thread);
}

TEST(fault, addresses_are_exact_where_that_was_negotiated_and_pages_still_whole) {
  UFFDPP_REQUIRE(test::kernel_has(feature::exact_address));
  std::atomic<std::uintptr_t> address{0};
  fault_handler_options options = test::one_thread();
  options.open.required = feature::exact_address;
  test::serving served(
      test::memory_kind::anonymous, 2,
      [&](fault& raised) {
        address = raised.event().address;
        EXPECT_EQ(raised.offset(), page_size());
        return raised.zeropage();
      },
      register_mode::missing, options);
  EXPECT_EQ(test::toucher(served.at(1) + 123).saw(), test::shows(0));
  EXPECT_EQ(address, served.at(1) + 123);
}

}  // namespace
}  // namespace uffd
