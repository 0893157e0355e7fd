// SPDX-License-Identifier: MIT
// A process that is stopped for a while, by a debugger or job control, fails no page for that: what
// is tried until a deadline is not tried meanwhile.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "support/awaited.hpp"
#include "support/forked.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

using namespace std::chrono_literals;

const std::size_t page = page_size();
constexpr std::size_t pages = 512;
constexpr std::chrono::milliseconds deadline = 1000ms;
constexpr int stops = 3;

// Writes to pages at random, with little room: there is always somebody who waits for some, or for
// the source, which takes a moment now and then.
void write_until_killed(test::pager_kind kind, std::atomic<std::uint64_t>& written) {
  test::kept_source source(pages * page);
  const auto fail = [] {
    std::this_thread::sleep_for(100us);
    return std::error_code();
  };
  source.writing_fails = fail;
  source.reading_fails = fail;
  pager_options how;
  how.budget = memory_budget(32 * page);
  how.threads = 2;
  const test::any_pager pager(kind, how);
  map_options options;
  options.writes = write_policy::write_back;
  options.deadline = deadline;
  const auto memory = pager->map(std::ref(source), options);
  std::vector<std::jthread> threads;
  for (std::uint64_t each = 0; each < 3; ++each)
    threads.emplace_back([&, each] {
      for (std::mt19937_64 random(each);; ++written)
        test::write_byte(test::address_of(memory.bytes()[random() % pages * page + each]), 1);
    });
}

class stopped_pager : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(stopped_pager);

TEST_P(stopped_pager, goes_on_where_it_was) {
  const auto between = mapping::shared(page);
  auto& written = *new (between.bytes().data()) std::atomic<std::uint64_t>(0);
  test::forked child([&] { write_until_killed(GetParam(), written); });
  for (int i = 0; i < stops; ++i) {
    const auto before = written.load();
    ASSERT_TRUE(test::eventually([&] { return written > before + 200; }));
    child.kill(SIGSTOP);
    std::this_thread::sleep_for(deadline + deadline / 2);
    child.kill(SIGCONT);
  }
  const auto before = written.load();
  ASSERT_TRUE(test::eventually([&] { return written > before + 200; }));
  child.kill(SIGKILL);
  EXPECT_EQ(child.wait(), test::dies_of(SIGKILL));
}

}  // namespace
}  // namespace uffd
