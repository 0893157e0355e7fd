// SPDX-License-Identifier: MIT
// pager_load: mappings of pagers of every kind, all within one budget that grows and shrinks:
// threads read, count, flush, pin, prefetch and advise in them, while they are unmapped and mapped
// again and their sources fail now and then. No increment is lost, no page is ever wrong.
//   pager_load [--seed N] [--seconds N] [--only KIND]
// Exit codes: 0 clean, 1 wrong, 77 userfaultfd is not permitted.
#include <fmt/core.h>
#include <malloc.h>

#include <CLI/CLI.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "baseline.hpp"
#include "paged_lane.hpp"
#include "support/awaited.hpp"
#include "support/requires.hpp"
#include "watch.hpp"

namespace {

namespace test = uffd::test;
using uffd::chaos::choices;
using uffd::chaos::mixed;
using uffd::chaos::paged_lane;
using uffd::chaos::progress;
using clock_type = std::chrono::steady_clock;

constexpr std::array kinds{test::pager_kind::own_threads, test::pager_kind::in_thread,
                           test::pager_kind::shared_handler};
// Room for the pagers' buffers, for what is pinned at once and for what is kept.
const std::size_t least_budget = 768 * uffd::page_size();
const std::size_t most_budget = 2048 * uffd::page_size();

struct settings {
  std::optional<std::uint64_t> seed;
  unsigned seconds = 10;
  std::string only_kind;
};

// Four of each kind of pager.
std::vector<uffd::chaos::paged_lane_options> lanes_for(test::pager_kind kind, std::uint64_t seed) {
  using uffd::write_policy;
  // So long a source may fail in vain; no longer than a hang.
  const auto deadline = std::chrono::milliseconds(uffd::chaos::patience) / 2;
  const auto first = 4 * static_cast<std::size_t>(kind);
  return {{seed, first, kind, write_policy::none, false, false, deadline},
          {seed, first + 1, kind, write_policy::keep, false, false, deadline},
          {seed, first + 2, kind, write_policy::write_back, false, false, deadline},
          {seed, first + 3, kind, write_policy::write_back, true, true, deadline}};
}

// Makes the budget larger and smaller.
void change_limit(uffd::memory_budget budget, choices chosen, progress& where,
                  const std::atomic<bool>& is_over) {
  const auto page = uffd::page_size();
  while (!is_over) {
    where.doing("changes the limit");
    budget.set_limit(chosen.between(least_budget / page, most_budget / page) * page);
    std::this_thread::sleep_for(std::chrono::milliseconds(chosen.between(1, 100)));
  }
  where.is_over.store(true);
}

class load {
 public:
  load(const settings& chosen, uffd::chaos::paged_tally& tally)
      : chosen_(chosen), tally_(tally), budget_(most_budget) {
    uffd::pager_options how;
    how.budget = budget_;
    for (const auto kind : kinds) {
      if (!chosen.only_kind.empty() && chosen.only_kind != test::name_of(kind)) continue;
      auto& by = pagers_.emplace_back(kind, how);
      for (const auto& each : lanes_for(kind, *chosen.seed))
        lanes_.push_back({&by, std::make_unique<paged_lane>(each, budget_, tally_)});
    }
    limit_.program = "pager_load";
    limit_.seed = *chosen.seed;
    limit_.lane = 4 * kinds.size();
    limit_.memory = "budget";
  }

  void run(std::uint64_t round, clock_type::duration lasting) {
    std::atomic<bool> is_over{false};
    std::vector<std::thread> threads;
    std::vector<progress*> watched{&limit_};
    for (auto& each : lanes_) {
      threads.emplace_back([&] { each.it->run(*each.by, is_over); });
      for (auto& where : each.it->where()) watched.push_back(&where);
    }
    threads.emplace_back(
        [&] { change_limit(budget_, choices(mixed(*chosen_.seed, round, 3)), limit_, is_over); });
    uffd::chaos::watch(watched, clock_type::now() + lasting, is_over);
    for (auto& each : threads) each.join();
  }

  // What is counted still once pagers and memory are gone; must be nothing.
  std::size_t finish() {
    lanes_.clear();
    pagers_.clear();
    return budget_.resident();
  }

 private:
  struct lane {
    const test::any_pager* by;
    std::unique_ptr<paged_lane> it;
  };

  const settings& chosen_;
  uffd::chaos::paged_tally& tally_;
  uffd::memory_budget budget_;
  std::deque<test::any_pager> pagers_;
  std::deque<lane> lanes_;
  progress limit_;
};

int say_wrong(const settings& chosen, const std::string& what) {
  fmt::print(stderr, "pager_load: {}; --seed {}\n", what, *chosen.seed);
  return 1;
}

// All is ended several times, so that what isn't given back adds up.
int run_all(const settings& chosen, uffd::chaos::paged_tally& tally) {
  constexpr unsigned rounds = 5;
  std::optional<uffd::chaos::baseline> before;
  std::thread([] {}).join();  // ThreadSanitizer starts one of its own with the first
  const auto threads = test::running_threads();
  for (unsigned round = 0; round < rounds; ++round) {
    {
      load all(chosen, tally);
      all.run(round, std::chrono::milliseconds(1000LL * chosen.seconds / rounds));
      if (const auto left = all.finish(); left != 0)
        return say_wrong(chosen, fmt::format("{} bytes of the budget were not given back", left));
    }
    static_cast<void>(test::eventually([&] { return test::running_threads() <= threads; }));
    const auto now = uffd::chaos::baseline::now();
    // The first round warms the allocator up.
    if (!before) before = now;
    if (const auto more = now.lacking_since(*before); !more.empty())
      return say_wrong(
          chosen, fmt::format("{} were not given back: {} descriptors, {} threads, {} "
                              "mappings, {} KiB resident, after round 1 {}, {}, {}, {}",
                              more, now.descriptors, now.threads, now.mappings, now.resident >> 10,
                              before->descriptors, before->threads, before->mappings,
                              before->resident >> 10));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Does everything to paged memory at once, and checks every page.");
  arguments.add_option("--seed", chosen.seed, "makes the same choices again; random if absent");
  arguments.add_option("--seconds", chosen.seconds, "how long")->capture_default_str();
  arguments.add_option("--only", chosen.only_kind, "only this kind of pager");
  CLI11_PARSE(arguments, argc, argv);

  if (const auto reason = test::permitted(); !reason.empty()) {
    fmt::print("{}\n", reason);
    return 77;
  }
  // One, so that what many threads freed is no riddle.
  ::mallopt(M_ARENA_MAX, 1);
  if (!chosen.seed) chosen.seed = std::random_device()();
  fmt::print("pager_load: --seed {} --seconds {}\n", *chosen.seed, chosen.seconds);
  std::fflush(stdout);
  uffd::chaos::paged_tally done;
  const int code = run_all(chosen, done);
  if (code != 0) return code;
  fmt::print(
      "pager_load: clean: {} lives, {} operations, {} increments, {} flushes and {} that failed, "
      "{} pins, {} prefetches, {} faults, {} pages evicted, {} written back; --seed {}\n",
      done.lives.load(), done.operations.load(), done.increments.load(), done.flushes.load(),
      done.failed_flushes.load(), done.pins.load(), done.prefetches.load(), done.faults.load(),
      done.evictions.load(), done.pages_written.load(), *chosen.seed);
}
