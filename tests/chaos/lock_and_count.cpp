// SPDX-License-Identifier: MIT
// lock_and_count: threads lock, check and increment counters that lie in the pages themselves,
// while these pages come by faults, by copies and moves in the background, and are write-protected
// again and again. In each round the memory of the last one is the source of the next: no update is
// lost.
//   lock_and_count [--seed N] [--seconds N] [--only KIND]
// Exit codes: 0 clean, 1 wrong, 77 userfaultfd is not permitted.
#include <fmt/core.h>
#include <sched.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "choices.hpp"
#include "progress.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "uffd/fault_handler.hpp"
#include "watch.hpp"

namespace {

namespace test = uffd::test;
using uffd::chaos::choices;
using uffd::chaos::mixed;
using clock_type = std::chrono::steady_clock;

// What lies at the begin of each page.
struct counter {
  std::atomic<std::uint32_t> lock{0};
  std::uint64_t count = 0;  // guarded by the lock
};

[[noreturn]] void end_wrong(const std::string& what) { throw std::runtime_error(what); }

class stress {
 public:
  stress(test::memory_kind kind, std::uint64_t seed)
      : kind_(kind),
        seed_(seed),
        pages_(test::is_huge(kind) ? 2 : 128),
        counts_(pages_),
        claimed_(pages_),
        from_(std::make_unique<test::memory>(kind, pages_)),
        handler_([this](uffd::fault& raised) { return serve(raised); }, options(kind)) {
    modes_ = uffd::register_mode::missing;
    const auto wanted = uffd::flags<uffd::register_mode>(uffd::register_mode::write_protect);
    if (handler_.on().features().has(test::features_of(kind, wanted))) modes_ |= wanted;
    for (std::size_t page = 0; page < pages_; ++page) at(*from_, page).count = 0;
  }

  // Moves instead of copying, in every other round, where that can be had.
  void round(std::uint64_t number) {
    const bool can_move =
        kind_ == test::memory_kind::anonymous && handler_.on().features().has(uffd::feature::move);
    moves_ = can_move && number % 2 == 1;
    ::madvise(from_->bytes().data(), from_->size(), MADV_NOHUGEPAGE);
    ::madvise(from_->bytes().data(), from_->size(), MADV_DONTFORK);
    for (auto& each : claimed_) each.store(false);
    filled_slices_.store(0);
    to_ = std::make_unique<test::memory>(kind_, pages_);
    uffd::serve_options described;
    described.modes = modes_;
    described.page_size = to_->page_size();
    auto region = handler_.serve(to_->range(), described);
    run_threads(number);
    check();
    region.complete();
    region = {};
    from_ = std::move(to_);
  }

  std::uint64_t increments() const { return increments_.load(); }
  std::uint64_t duplicates() const { return duplicates_.load(); }
  void finish() {
    handler_.request_stop();
    handler_.join();
  }

 private:
  static uffd::fault_handler_options options(test::memory_kind kind) {
    uffd::fault_handler_options result;
    result.threads = 2;
    result.forks = uffd::fork_policy::not_inherited;
    result.open.required = test::features_of(kind, uffd::register_mode::missing);
    result.open.optional = uffd::feature::pagefault_flag_wp | uffd::feature::wp_hugetlbfs_shmem |
                           uffd::feature::wp_unpopulated | uffd::feature::move |
                           uffd::feature::poison;
    return result;
  }

  static counter& at(const test::memory& memory, std::size_t page) {
    return *reinterpret_cast<counter*>(memory.at(page));
  }
  std::span<const std::byte> source(std::size_t page) const {
    return std::span<const std::byte>(from_->bytes())
        .subspan(page * from_->page_size(), from_->page_size());
  }
  bool protects() const { return modes_.has(uffd::register_mode::write_protect); }

  uffd::resolution serve(uffd::fault& raised) {
    if (raised.kind() == uffd::fault_kind::write_protect) return raised.unprotect();
    const auto page = raised.offset() / raised.page().size();
    if (!moves_) return raised.copy(source(page), some_mode(page));
    // Who moves a page leaves a hole: only one may.
    if (claimed_[page].exchange(true)) return uffd::resolution::gone();
    const auto moved = raised.move(from_->page(page));
    return moved.kind() == uffd::resolution::state::failed ? raised.copy(source(page)) : moved;
  }
  uffd::flags<uffd::fill_mode> some_mode(std::size_t page) const {
    return protects() && page % 2 == 0 ? uffd::flags(uffd::fill_mode::write_protect)
                                       : uffd::flags<uffd::fill_mode>();
  }

  void run_threads(std::uint64_t number) {
    const auto cpus = std::max(2U, std::thread::hardware_concurrency());
    std::atomic<bool> are_over{false};
    std::atomic<bool> is_wrong{false};
    std::vector<std::thread> lockers;
    std::vector<std::thread> others;
    for (unsigned cpu = 0; cpu < cpus; ++cpu) {
      lockers.emplace_back([&, cpu] {
        if (!count(choices(mixed(seed_, number, cpu)))) is_wrong.store(true);
      });
      others.emplace_back([&, cpu] {
        if (!fill_slice(cpu, cpus)) is_wrong.store(true);
      });
    }
    if (protects())
      others.emplace_back([&] { protect(choices(mixed(seed_, number, cpus)), cpus, are_over); });
    for (auto& each : lockers) each.join();
    are_over.store(true);
    for (auto& each : others) each.join();
    if (is_wrong) end_wrong("a page was wrong");
  }

  // Where the pages' own locks guard the counters, theirs and ours.
  bool count(choices chosen) {
    bool is_right = true;
    for (int left = 2000; left != 0; --left) {
      const auto page = chosen.below(pages_);
      counter& there = at(*to_, page);
      while (there.lock.exchange(1, std::memory_order_acquire) != 0) ::sched_yield();
      is_right = is_right && there.count == counts_[page];
      if (!is_right)
        uffd::chaos::say("lock_and_count: page %zu counts %llu, not %llu\n", page,
                         static_cast<unsigned long long>(there.count),
                         static_cast<unsigned long long>(counts_[page]));
      ++there.count;
      ++counts_[page];
      there.lock.store(0, std::memory_order_release);
      if (!is_right) return false;
    }
    increments_.fetch_add(2000);
    return true;
  }

  // Copies or moves what nobody has touched yet, and what somebody has: that must be refused.
  bool fill_slice(unsigned cpu, unsigned cpus) {
    const auto& on = handler_.on();
    bool is_right = true;
    for (std::size_t page = cpu; page < pages_; page += cpus) {
      if (moves_ && claimed_[page].exchange(true)) continue;  // who has claimed it is at it
      fill(page);
      const auto again = on.copy(to_->at(page), source(page));
      if (again.error() != uffd::condition::already_present) {
        uffd::chaos::say("lock_and_count: copied twice: %d\n", again.number);
        is_right = false;
      }
      duplicates_.fetch_add(1);
    }
    filled_slices_.fetch_add(1);
    return is_right;
  }
  void fill(std::size_t page) {
    const auto& on = handler_.on();
    uffd::outcome done{0, EBUSY};
    if (moves_) done = on.move(to_->at(page), from_->page(page));
    if (!done) done = on.copy(to_->at(page), source(page), some_mode(page));
    if (!done && done.error() != uffd::condition::already_present)
      uffd::chaos::say("lock_and_count: filling page %zu: %d\n", page, done.number);
  }

  // A marker on a missing page would keep a move from it.
  void protect(choices chosen, unsigned slices, const std::atomic<bool>& are_over) {
    while (filled_slices_.load() < slices && moves_ && !are_over) ::sched_yield();
    while (!are_over) {
      const auto first = chosen.below(pages_);
      const auto count = chosen.between(1, std::min<std::size_t>(8, pages_ - first));
      static_cast<void>(handler_.on().write_protect(to_->page(first, count)));
      ::sched_yield();
    }
  }

  void check() const {
    for (std::size_t page = 0; page < pages_; ++page)
      if (at(*to_, page).count != counts_[page] || at(*to_, page).lock.load() != 0)
        end_wrong("page " + std::to_string(page) + " has lost an update");
  }

  const test::memory_kind kind_;
  const std::uint64_t seed_;
  const std::size_t pages_;
  uffd::flags<uffd::register_mode> modes_;
  bool moves_ = false;
  std::vector<std::uint64_t> counts_;
  std::vector<std::atomic<bool>> claimed_;
  std::atomic<unsigned> filled_slices_{0};
  std::atomic<std::uint64_t> increments_{0};
  std::atomic<std::uint64_t> duplicates_{0};
  std::unique_ptr<test::memory> from_;
  std::unique_ptr<test::memory> to_;
  uffd::fault_handler handler_;
};

struct settings {
  std::optional<std::uint64_t> seed;
  unsigned seconds = 5;
  std::string only_kind;
};

// Ends the program if a round hangs.
void run(test::memory_kind kind, const settings& chosen, std::chrono::milliseconds lasting) {
  uffd::chaos::progress where;
  where.program = "lock_and_count";
  where.seed = *chosen.seed;
  where.memory = test::name_of(kind).data();
  where.server.store("fault_handler");
  std::atomic<bool> is_over{false};
  std::exception_ptr error;
  std::thread running([&] {
    try {
      stress all(kind, *chosen.seed);
      for (std::uint64_t round = 0; !is_over; ++round) {
        where.step.store(round);
        where.doing("counts");
        all.round(round);
      }
      all.finish();
      fmt::print("lock_and_count: {}: {} increments in {} rounds, {} pages copied twice\n",
                 test::name_of(kind), all.increments(), where.step.load() + 1, all.duplicates());
    } catch (...) {
      error = std::current_exception();
    }
    where.is_over.store(true);
  });
  uffd::chaos::progress* const watched = &where;
  uffd::chaos::watch(std::span(&watched, 1), clock_type::now() + lasting, is_over);
  running.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Counts in pages that come, move and are protected meanwhile.");
  arguments.add_option("--seed", chosen.seed, "makes the same choices again; random if absent");
  arguments.add_option("--seconds", chosen.seconds, "how long")->capture_default_str();
  arguments.add_option("--only", chosen.only_kind, "only this kind of memory");
  CLI11_PARSE(arguments, argc, argv);

  if (const auto reason = test::permitted(); !reason.empty()) {
    fmt::print("{}\n", reason);
    return 77;
  }
  if (!chosen.seed) chosen.seed = std::random_device()();
  fmt::print("lock_and_count: --seed {} --seconds {}\n", *chosen.seed, chosen.seconds);
  std::fflush(stdout);
  const std::chrono::milliseconds each(1000 * chosen.seconds / test::every_kind.size());
  try {
    for (const auto kind : test::every_kind) {
      if (!chosen.only_kind.empty() && chosen.only_kind != test::name_of(kind)) continue;
      if (const auto lacking = test::available(kind, 6); lacking.empty())
        run(kind, chosen, each);
      else
        fmt::print("lock_and_count: not {}: {}\n", test::name_of(kind), lacking);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "lock_and_count: {}; --seed {}\n", error.what(), *chosen.seed);
    return 1;
  }
}
