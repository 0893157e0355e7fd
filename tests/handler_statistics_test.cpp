// SPDX-License-Identifier: MIT
#include "uffd/handler_statistics.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <optional>
#include <utility>

#include "support/awaited.hpp"
#include "support/closed_page.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

fault_handler_options counting(unsigned threads = 1) {
  fault_handler_options options;
  options.threads = threads;
  options.statistics = true;
  return options;
}

// A stopped handler has counted all it will.
handler_statistics after_stop(test::serving& served) {
  static_cast<void>(test::error_after_stop(served.handler()));
  return served.handler().statistics();
}

TEST(handler_statistics, count_faults_resolved_by_all_threads) {
  test::serving served(test::memory_kind::anonymous, 100, test::fill_by_offset(),
                       register_mode::missing, counting(3));
  for (std::size_t page = 0; page < 100; ++page) test::look(served.at(page));
  const auto counted = after_stop(served);
  EXPECT_EQ(counted.missing, 100U);
  EXPECT_EQ(counted.resolved, 100U);
  EXPECT_EQ(counted.latency.total(), 100U);
  EXPECT_GT(counted.latency.maximum().count(), 0);
  EXPECT_EQ(counted.failed + counted.gone + counted.deferred + counted.retried, 0U);
  EXPECT_EQ(counted.minor + counted.write_protect + counted.read_write_protect, 0U);
}

TEST(handler_statistics, count_answers_by_kind) {
  std::optional<deferred_fault> kept;
  test::signal keeping;
  std::atomic<int> tries{0};
  test::serving served(
      test::memory_kind::anonymous, 4,
      [&](fault& raised) -> resolution {
        switch (raised.offset() / page_size()) {
          case 0:
            return std::errc::io_error;
          case 1:
            return ++tries < 4 ? resolution::retry() : raised.zeropage();
          case 2:
            kept.emplace(raised.defer());
            keeping.set();
            return resolution::deferred();
          default:
            return raised.zeropage();
        }
      },
      register_mode::missing, counting());
  EXPECT_EQ(test::look(served.at(0)), test::closed_page());
  EXPECT_EQ(test::look(served.at(1)), test::shows(0));
  test::toucher deferred(served.at(2));
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().deferred == 1; }));
  ASSERT_TRUE(keeping.comes());
  EXPECT_TRUE(kept->zeropage().is_resolved());
  EXPECT_EQ(deferred.saw(), test::shows(0));
  EXPECT_EQ(test::look(served.at(3)), test::shows(0));
  const auto counted = after_stop(served);
  EXPECT_EQ(counted.failed, 1U);
  EXPECT_EQ(counted.retried, 3U);
  EXPECT_EQ(counted.deferred, 1U);
  EXPECT_EQ(counted.resolved, 2U);
}

TEST(handler_statistics, count_kinds_of_faults) {
  const auto modes = register_mode::missing | register_mode::minor | register_mode::write_protect;
  UFFDPP_REQUIRE(test::available(test::memory_kind::shared, 2, modes));
  test::serving served(
      test::memory_kind::shared, 2,
      [](fault& raised) {
        switch (raised.kind()) {
          case fault_kind::minor:
            return raised.continue_();
          case fault_kind::write_protect:
            return raised.unprotect();
          default:
            return raised.zeropage();
        }
      },
      modes, counting());
  const auto alias = served.memory().mapping().alias();
  test::write_byte(alias.range().begin(), 7);
  EXPECT_EQ(test::look(served.at(0)), test::shows(7));
  EXPECT_EQ(test::look(served.at(1)), test::shows(0));
  ASSERT_TRUE(served.handler().on().write_protect(served.memory().page(1)));
  EXPECT_EQ(test::try_write(served.at(1), 5), test::shows(5));
  const auto counted = after_stop(served);
  EXPECT_EQ(counted.minor, 1U);
  EXPECT_EQ(counted.missing, 1U);
  EXPECT_EQ(counted.write_protect, 1U);
}

TEST(handler_statistics, count_events) {
  test::serving served(test::memory_kind::anonymous, 2,
                       overloaded{test::fill_by_offset(), [](const remove_event&) {}},
                       register_mode::missing, counting());
  for (int i = 0; i < 3; ++i)
    ASSERT_EQ(::madvise(reinterpret_cast<void*>(served.at(0)), page_size(), MADV_DONTNEED), 0);
  EXPECT_TRUE(test::eventually([&] { return served.handler().statistics().events == 3; }));
}

TEST(handler_statistics, count_strangers) {
  fault_handler handler(test::fill_by_offset(), counting());
  const test::memory memory(test::memory_kind::anonymous, 1);
  handler.on().register_range(memory.range(), register_mode::missing);
  EXPECT_EQ(test::toucher(memory.at(0)).saw(), test::closed_page());
  EXPECT_GE(handler.statistics().strangers, 1U);
}

}  // namespace
}  // namespace uffd
