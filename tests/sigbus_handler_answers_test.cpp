// SPDX-License-Identifier: MIT
// Each answer to a fault that is served in the thread that raised it.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving_in_thread.hpp"
#include "support/sight.hpp"
#include "uffd/deferred_fault.hpp"
#include "uffd/sigbus_handler.hpp"

namespace uffd {
namespace {

class answer_in_thread_on : public testing::TestWithParam<test::memory_kind> {
 protected:
  static constexpr std::size_t pages = 4;

  void SetUp() override { UFFDPP_REQUIRE(test::available(GetParam(), pages)); }
};
UFFDPP_ON_EVERY_KIND(answer_in_thread_on);

TEST_P(answer_in_thread_on, copy_shows_what_was_copied) {
  test::serving_in_thread served(GetParam(), pages, test::fill_by_offset());
  for (const std::size_t page : {3U, 1U})
    EXPECT_EQ(test::look(served.at(page) + 77), test::shows(test::byte_of(page)));
  EXPECT_EQ(test::try_write(served.at(2), 9), test::shows(9));
  EXPECT_EQ(test::look(served.at(2) + 1), test::shows(3));
}

TEST_P(answer_in_thread_on, copy_may_fill_a_whole_block) {
  int faults = 0;
  const auto content = test::filled(pages * test::page_size_of(GetParam()), 5);
  test::serving_in_thread served(GetParam(), pages, [&](fault& raised) noexcept {
    ++faults;
    const auto block = raised.block(2 * raised.page().size());
    return raised.copy(block, std::span(content).first(block.size()));
  });
  EXPECT_EQ(test::look(served.at(1)), test::shows(5));
  EXPECT_EQ(test::look(served.at(0)), test::shows(5));
  EXPECT_EQ(test::look(served.at(2)), test::shows(5));
  EXPECT_EQ(test::look(served.at(3)), test::shows(5));
  EXPECT_EQ(faults, 2);
}

TEST_P(answer_in_thread_on, copy_buffer_pads_with_zeroes) {
  test::serving_in_thread served(GetParam(), pages, [](fault& raised) noexcept {
    std::fill(raised.buffer().begin(), raised.buffer().end(), std::byte{6});
    return raised.copy_buffer(10);
  });
  EXPECT_EQ(test::look(served.at(1) + 9), test::shows(6));
  EXPECT_EQ(test::look(served.at(1) + 10), test::shows(0));
}

TEST_P(answer_in_thread_on, zeropage_shows_zeroes) {
  test::serving_in_thread served(GetParam(), pages,
                                 [](fault& raised) noexcept { return raised.zeropage(); });
  EXPECT_EQ(test::look(served.at(0)), test::shows(0));
  EXPECT_EQ(test::try_write(served.at(1), 1), test::shows(1));
}

TEST_P(answer_in_thread_on, an_error_is_a_sigbus_each_time) {
  int faults = 0;
  test::serving_in_thread served(GetParam(), pages, [&](fault& raised) noexcept -> resolution {
    if (++faults == 3) return raised.zeropage();
    return std::errc::no_such_device;
  });
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::try_write(served.at(1), 1), test::takes_sigbus);
  EXPECT_EQ(test::look(served.at(1)), test::shows(0)) << "whoever comes later asks again";
  EXPECT_EQ(faults, 3);
  EXPECT_EQ(test::kept_error(served.handler()), std::errc::no_such_device);
  EXPECT_FALSE(test::kept_error(served.handler()));
}

TEST_P(answer_in_thread_on, poison_is_a_sigbus_and_does_not_call_for_ever) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));
  int faults = 0;
  test::serving_in_thread served(GetParam(), pages, [&](fault& raised) noexcept {
    ++faults;
    return raised.poison();
  });
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_EQ(faults, 1);
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_LE(faults, 2) << "some kernels report poison as they report a fault";
  EXPECT_FALSE(test::kept_error(served.handler())) << "it was asked for";
}

TEST_P(answer_in_thread_on, retry_calls_again) {
  int faults = 0;
  test::serving_in_thread served(GetParam(), pages, [&](fault& raised) noexcept {
    return ++faults < 5 ? resolution::retry() : raised.zeropage();
  });
  EXPECT_EQ(test::look(served.at(1)), test::shows(0));
  EXPECT_EQ(faults, 5);
}

TEST_P(answer_in_thread_on, gone_is_a_sigbus_while_the_page_is_missing) {
  int faults = 0;
  test::serving_in_thread served(GetParam(), pages, [&](fault& raised) noexcept {
    if (++faults == 2) static_cast<void>(raised.zeropage());
    return resolution::gone();
  });
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::look(served.at(1)), test::shows(0));
}

TEST_P(answer_in_thread_on, an_install_outside_the_range_fails) {
  std::errc seen{};
  test::serving_in_thread served(GetParam(), pages, [&](fault& raised) noexcept -> resolution {
    const auto outside =
        page_range(raised.page().end() + 7 * raised.page().size(), raised.page().size());
    const auto answer = raised.copy(outside, raised.buffer());
    seen = static_cast<std::errc>(answer.error().value());
    return raised.zeropage();
  });
  EXPECT_EQ(test::look(served.at(1)), test::shows(0));
  EXPECT_EQ(seen, std::errc::invalid_argument);
}

TEST(answer_in_thread, move_takes_the_page) {
  UFFDPP_REQUIRE(test::kernel_has(feature::move));
  auto source = mapping::anonymous(page_size());
  source.keep_from_children();
  std::fill(source.bytes().begin(), source.bytes().end(), std::byte{8});
  test::serving_in_thread served(
      2, [&](fault& raised) noexcept { return raised.move(source.range()); });
  EXPECT_EQ(test::look(served.at(1)), test::shows(8));
}

TEST(answer_in_thread, deferring_is_refused) {
  resolution late = resolution::resolved();
  std::size_t space = 1;
  test::serving_in_thread served(2, [&](fault& raised) noexcept {
    auto later = raised.defer();
    late = later.zeropage();
    space = later.space();
    return resolution::deferred();
  });
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_EQ(late.kind(), resolution::state::gone);
  EXPECT_EQ(space, 0U);
  EXPECT_EQ(test::kept_error(served.handler()), std::errc::not_supported);
}

TEST(answer_in_thread, that_it_was_deferred_is_refused_too) {
  test::serving_in_thread served(1, [](fault&) noexcept { return resolution::deferred(); });
  EXPECT_EQ(test::look(served.at(0)), test::takes_sigbus);
  EXPECT_EQ(test::kept_error(served.handler()), std::errc::not_supported);
}

TEST(answer_in_thread, only_the_first_error_is_kept) {
  const std::array errors{std::errc::broken_pipe, std::errc::bad_message};
  std::size_t faults = 0;
  test::serving_in_thread served(
      2, [&](fault&) noexcept -> resolution { return errors[faults++ % errors.size()]; });
  EXPECT_EQ(test::look(served.at(1)), test::takes_sigbus);
  EXPECT_EQ(test::look(served.at(0)), test::takes_sigbus);
  try {
    served.handler().rethrow_error();
    FAIL() << "nothing was kept";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::broken_pipe);
    EXPECT_NE(std::string(error.what()).find("offset " + std::to_string(page_size())),
              std::string::npos)
        << error.what();
  }
}

TEST(answer_in_thread, gone_lets_an_access_see_what_was_mapped_there_meanwhile) {
  test::serving_in_thread served(2, [](fault& raised) noexcept { return raised.zeropage(); });
  auto* const page = served.memory().bytes().data() + page_size();
  ASSERT_NE(::mmap(page, page_size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  EXPECT_EQ(test::try_write(served.at(1), 4), test::shows(4));
  EXPECT_EQ(test::look(served.at(0)), test::shows(0));
}

}  // namespace
}  // namespace uffd
