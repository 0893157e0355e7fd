// SPDX-License-Identifier: MIT
// chaos: threads that read, write, fork, move, unmap, drop, protect and register memory of all
// kinds while its faults are served, each page checked against a model after every step.
//   chaos [--seed N] [--seconds N] [--lanes N] [--lane N] [--only KIND]
// Exit codes: 0 clean, 1 wrong, 77 userfaultfd is not permitted.
#include <fmt/core.h>
#include <malloc.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "baseline.hpp"
#include "lane.hpp"
#include "support/awaited.hpp"
#include "support/requires.hpp"
#include "watch.hpp"

namespace {

namespace test = uffd::test;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

struct settings {
  std::optional<std::uint64_t> seed;
  unsigned seconds = 10;
  std::size_t lanes = 5;
  std::optional<std::size_t> only_lane;
  std::string only_kind;
};

// A lane and how far it has come.
struct lane {
  uffd::chaos::lane_options options;
  uffd::chaos::progress where;
  uffd::chaos::experience learnt;
  std::uint64_t lived = 0;
};

// Each lane takes four huge pages, and its children copy some.
std::string lacking(test::memory_kind kind, std::size_t huge_lanes) {
  const auto needs = test::available(kind, 1);
  return needs.empty() && test::is_huge(kind) ? test::huge_pages(8 * (huge_lanes + 1)) : needs;
}

// Lane N has the kind of memory number N modulo their number, whatever else runs.
std::deque<lane> make_lanes(const settings& chosen) {
  std::deque<lane> lanes;
  std::size_t huge_lanes = 0;
  for (std::size_t number = 0; number < chosen.lanes; ++number) {
    const auto kind = test::every_kind[number % test::every_kind.size()];
    if (chosen.only_lane && *chosen.only_lane != number) continue;
    if (!chosen.only_kind.empty() && test::name_of(kind) != chosen.only_kind) continue;
    if (const auto needs = lacking(kind, huge_lanes); !needs.empty()) {
      fmt::print("chaos: no lane {} ({}): {}\n", number, test::name_of(kind), needs);
      continue;
    }
    if (test::is_huge(kind)) ++huge_lanes;
    auto& added = lanes.emplace_back();
    added.options = {*chosen.seed, number, kind};
    added.where.seed = *chosen.seed;
    added.where.lane = number;
    added.where.memory = test::name_of(kind).data();
  }
  return lanes;
}

// All lanes at once, for so long.
void run(std::deque<lane>& lanes, clock_type::duration lasting) {
  const auto before = test::running_threads();
  std::atomic<bool> is_over{false};
  std::vector<std::thread> threads;
  for (auto& each : lanes) {
    each.where.is_over.store(false);
    threads.emplace_back([&] {
      each.lived =
          uffd::chaos::run_lane(each.options, each.lived, each.where, each.learnt, is_over);
    });
  }
  std::vector<uffd::chaos::progress*> watched;
  for (auto& each : lanes) watched.push_back(&each.where);
  uffd::chaos::watch(watched, clock_type::now() + lasting, is_over);
  for (auto& thread : threads) thread.join();
  // The kernel lists a thread for a moment longer than who joins it waits.
  static_cast<void>(test::eventually([&] { return test::running_threads() <= before; }));
}

bool has_children() { return ::waitpid(-1, nullptr, WNOHANG) >= 0 || errno != ECHILD; }

// The lanes end several times, so that what they don't give back adds up.
int run_all(std::deque<lane>& lanes, const settings& chosen) {
  constexpr int rounds = 5;
  std::optional<uffd::chaos::baseline> before;
  std::thread([] {}).join();  // ThreadSanitizer starts one of its own with the first
  for (int round = 0; round < rounds; ++round) {
    run(lanes, std::chrono::milliseconds(1000LL * chosen.seconds / rounds));
    const auto now = uffd::chaos::baseline::now();
    // The first round warms the allocator up.
    if (!before) before = now;
    const auto more = has_children() ? std::string("children") : now.lacking_since(*before);
    if (more.empty()) continue;
    fmt::print(stderr,
               "chaos: {} were not given back: {} descriptors, {} threads, {} mappings, {} KiB "
               "resident, after round 1 {}, {}, {}, {}; --seed {}\n",
               more, now.descriptors, now.threads, now.mappings, now.resident >> 10,
               before->descriptors, before->threads, before->mappings, before->resident >> 10,
               *chosen.seed);
    return 1;
  }
  return 0;
}

void report(const std::deque<lane>& lanes) {
  std::uint64_t lives = 0;
  std::uint64_t operations = 0;
  std::uint64_t forgotten = 0;
  for (const auto& each : lanes) {
    lives += each.lived;
    operations += each.where.operations.load();
    forgotten += each.where.forgotten.load();
    fmt::print("chaos: lane {} ({}): {} lives, {} operations\n", each.options.number,
               each.where.memory, each.lived, each.where.operations.load());
  }
  if (forgotten != 0) fmt::print("chaos: {} huge pages were lost at forks\n", forgotten);
  fmt::print("chaos: clean: {} lives, {} operations\n", lives, operations);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Does everything to served memory at once, and checks every page.");
  arguments.add_option("--seed", chosen.seed, "makes the same choices again; random if absent");
  arguments.add_option("--seconds", chosen.seconds, "how long")->capture_default_str();
  arguments.add_option("--lanes", chosen.lanes, "areas of memory at once")->capture_default_str();
  arguments.add_option("--lane", chosen.only_lane, "of these only one");
  arguments.add_option("--only", chosen.only_kind, "only lanes of this kind of memory");
  CLI11_PARSE(arguments, argc, argv);

  if (const auto reason = test::permitted(); !reason.empty()) {
    fmt::print("{}\n", reason);
    return 77;
  }
  // One, so that what a fork locks is what everybody needs.
  ::mallopt(M_ARENA_MAX, 1);
  if (!chosen.seed) chosen.seed = std::random_device()();
  fmt::print("chaos: --seed {} --seconds {} --lanes {}\n", *chosen.seed, chosen.seconds,
             chosen.lanes);
  auto lanes = make_lanes(chosen);
  if (lanes.empty()) {
    fmt::print("chaos: no lane is left\n");
    return 77;
  }
  if (const auto lacks = test::fork_events(); !lacks.empty())
    fmt::print("chaos: children are not followed: {}\n", lacks);
  if (const auto lacks = test::kernel_faults(); !lacks.empty()) fmt::print("chaos: {}\n", lacks);
  std::fflush(stdout);
  const int code = run_all(lanes, chosen);
  if (code == 0) report(lanes);
  return code;
}
