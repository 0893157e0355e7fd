// SPDX-License-Identifier: MIT
// What becomes of paged memory whose source fails, hangs, gives too little or changes underneath.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/sight.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

// Two pages, of which the second can't be read alone so many times.
struct half_source {
  std::uint64_t size() const noexcept { return 2 * page; }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    if (offset == page && fails->load() != 0) {
      fails->fetch_sub(1);
      return {0, source_error::transient};
    }
    for (auto& each : to) each = test::source_byte(offset++);
    return {to.size(), {}};
  }

  std::atomic<int>* fails;
};

class failing_source_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(failing_source_of);

// One that was tried in vain, and then came along with another one, has a deadline of its own the
// next time.
TEST_P(failing_source_of, has_all_the_time_again_once_a_page_was_had) {
  constexpr int always = 1 << 30;
  std::atomic<int> fails{0};
  const test::any_pager pager(GetParam());
  map_options options;
  options.writes = write_policy::keep;
  options.unit = 2 * page;
  options.deadline = std::chrono::milliseconds(2000);
  const auto memory = pager->map(half_source{&fails}, options);
  const auto shows = [&](std::size_t number) {
    return test::look_at(memory, number * page) == test::shows_source(number * page);
  };
  const auto drop = [&](std::size_t number) {
    ASSERT_EQ(::madvise(memory.writable_bytes().data() + number * page, page, MADV_DONTNEED), 0);
  };
  EXPECT_TRUE(shows(0));
  drop(1);
  fails = always;
  test::background waiting([&] { EXPECT_TRUE(shows(1)); });
  ASSERT_TRUE(test::eventually([&] { return fails < always - 3; }));
  while (!waiting.finishes(std::chrono::milliseconds(0))) {
    drop(0);
    ASSERT_TRUE(shows(0));
  }
  std::this_thread::sleep_for(options.deadline);
  drop(1);
  fails = 1;
  EXPECT_TRUE(shows(1));
  EXPECT_EQ(fails, 0);
}

}  // namespace
}  // namespace uffd
