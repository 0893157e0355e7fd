// SPDX-License-Identifier: MIT
// What the kernel counts as resident stays within a pager's budget while threads read and write at
// random, and is given back afterwards.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/forked.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/resident.hpp"
#include "support/sanitizers.hpp"
#include "uffd/mapping.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

// What parent and child share.
struct account {
  std::atomic<std::uintptr_t> memory{0};
  std::atomic<std::uint64_t> accesses{0};
};

struct load {
  test::pager_kind kind;
  write_policy writes;
  std::size_t pages;
  std::size_t budgeted_pages;
};

// Threads that go to places at random, and read on for a while from some.
void touch_until_killed(const load& what, account& shared) {
  pager_options how;
  how.budget = memory_budget(what.budgeted_pages * page);
  how.threads = 2;
  const test::any_pager pager(what.kind, how);
  map_options options;
  options.writes = what.writes;
  test::kept_source source(what.pages * page);
  const auto memory = pager->map(std::ref(source), options);
  shared.memory = test::address_of(memory.bytes()[0]);
  std::vector<std::jthread> threads;
  for (std::uint64_t each = 0; each < 3; ++each)
    threads.emplace_back([&, each] {
      std::mt19937_64 random(each);
      for (;;) {
        const auto first = random() % what.pages;
        const auto count = random() % 8 == 0 ? std::min<std::size_t>(100, what.pages - first) : 1;
        for (auto number = first; number < first + count; ++number) {
          const auto at = shared.memory + number * page + each * 8;
          if (what.writes != write_policy::none && random() % 3 == 0)
            test::write_byte(at, 1);
          else
            static_cast<void>(test::read_byte(at));
          shared.accesses.fetch_add(1, std::memory_order_relaxed);
        }
      }
    });
}

// Between two moments in which nothing moves: all threads have stopped when waitpid(2) says so.
std::size_t resident_in(pid_t process, page_range memory) {
  int status = 0;
  if (::kill(process, SIGSTOP) != 0 || ::waitpid(process, &status, WUNTRACED) != process ||
      !WIFSTOPPED(status))
    return SIZE_MAX;
  const auto resident = test::resident_bytes(memory, process);
  ::kill(process, SIGCONT);
  return resident;
}

class resident_memory_of : public test::every_pager {
 protected:
  static void never_exceeds(const load& what) {
    const auto between = mapping::shared(sizeof(account));
    auto& shared = *new (between.bytes().data()) account;
    const test::forked child([&] { touch_until_killed(what, shared); });
    ASSERT_TRUE(test::eventually([&] { return shared.accesses > 2 * what.pages; }));
    const page_range memory(shared.memory, what.pages * page);
    const auto limit = what.budgeted_pages * page;
    std::size_t most = 0;
    for (int sample = 0; sample < 200; ++sample) {
      const auto before = shared.accesses.load();
      const auto now = resident_in(child.pid(), memory);
      ASSERT_LE(now, limit) << "sample " << sample;
      most = std::max(most, now);
      const timespec moment{0, 1'000'000};
      ::nanosleep(&moment, nullptr);
      ASSERT_TRUE(test::eventually([&] { return shared.accesses > before; }));
    }
    EXPECT_GT(most, limit / 2);
  }
};
UFFDPP_FOR_EVERY_PAGER(resident_memory_of);

TEST_P(resident_memory_of, readers_stays_within_the_budget) {
  never_exceeds({GetParam(), write_policy::none, 4096, 512});
}

TEST_P(resident_memory_of, writers_stays_within_the_budget) {
  never_exceeds({GetParam(), write_policy::write_back, 4096, 512});
}

TEST_P(resident_memory_of, a_tiny_budget_stays_within_it) {
  never_exceeds({GetParam(), write_policy::write_back, 1024, 64});
}

// But for what the allocator and the C library's stacks keep, which does not add up: so after some
// rounds there is no more than a sixteenth of what was resident in each of them.
TEST_P(resident_memory_of, what_is_unmapped_is_given_back) {
  if (test::thread_sanitizer || test::address_sanitizer)
    GTEST_SKIP() << "a sanitizer keeps shadows of all memory";
  constexpr std::size_t bytes = std::size_t{32} << 20;
  const auto round = [&](std::size_t* resident) {
    const test::any_pager pager(GetParam());
    map_options options;
    options.writes = write_policy::keep;
    const auto memory = pager->map(test::counted_source(bytes), options);
    for (std::size_t at = 0; at < bytes; at += 16 * page)
      ASSERT_EQ(test::try_write(test::address_of(memory.bytes()[at]), 1), test::shows(1));
    ASSERT_FALSE(memory.prefetch(memory.bytes()));
    *resident = test::resident_bytes(page_range(memory.bytes()));
  };
  std::size_t resident = 0;
  ASSERT_NO_FATAL_FAILURE(round(&resident));
  EXPECT_EQ(resident, bytes);
  const auto before = test::resident_bytes();
  for (int i = 0; i < 4; ++i) ASSERT_NO_FATAL_FAILURE(round(&resident));
  EXPECT_LE(test::resident_bytes(), before + bytes / 16);
}

}  // namespace
}  // namespace uffd
