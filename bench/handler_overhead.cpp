// SPDX-License-Identifier: MIT
// What the library costs beside the same loop written by hand: both in one run, in turns, as
// ratios, with the hand-written loop against itself to show the noise. It reports; nothing here
// fails.
#include <fmt/core.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/cpus.hpp"
#include "support/faulting_memory.hpp"
#include "support/interleaved.hpp"
#include "support/other_load.hpp"
#include "support/overhead_report.hpp"
#include "support/servers.hpp"
#include "support/touchers.hpp"

namespace {

using namespace uffd::bench;

constexpr std::size_t memory_bytes = std::size_t{32} << 20;

struct settings {
  unsigned pairs = 9;
  std::size_t faults = 16384;
  std::string csv;
  std::string only;
};

using starter = std::function<std::unique_ptr<server>(const faulting_memory&)>;

struct toucher_plan {
  unsigned threads = 1;
  int cpu = any_cpu;
  std::size_t faults = 0;
};

// A fresh handler and fresh memory for each measurement.
measurement measure(const starter& start, const toucher_plan& plan) {
  const faulting_memory memory({.how = technique::copy, .bytes = memory_bytes});
  const auto handler = start(memory);
  touchers touching(memory, plan.threads, plan.cpu);
  touching.run();  // page tables, branch predictors, the scheduler's idea of who wakes whom

  std::vector<nanoseconds> latencies;
  nanoseconds wall = 0;
  nanoseconds cpu = 0;
  while (latencies.size() < plan.faults) {
    memory.prepare(handler->on());
    const round_result round = touching.run();
    latencies.insert(latencies.end(), round.latencies.begin(), round.latencies.end());
    wall += round.wall;
    cpu += round.cpu;
  }
  const samples all(std::move(latencies));
  const auto at = [&](double fraction) { return static_cast<double>(all.percentile(fraction)); };
  const auto count = static_cast<double>(all.size());
  return {.p50 = at(0.5),
          .p90 = at(0.9),
          .p99 = at(0.99),
          .maximum = static_cast<double>(all.maximum()),
          .faults_per_second = count * 1e9 / static_cast<double>(wall),
          .cpu_per_fault = static_cast<double>(cpu) / count};
}

candidate make(std::string name, const toucher_plan& plan, starter start) {
  return {std::move(name), [plan, start = std::move(start)] { return measure(start, plan); }, {}};
}

// The order that overhead_report.hpp and the thresholds below rely on.
enum handler_kind : std::size_t {
  raw_loop,
  raw_again,
  library,
  library_own_handle,
  threaded = library_own_handle,  // in its place where faults are served in their thread
  raw_unpinned,                   // this and the next with one handler per CPU only
  raw_batched,
};

starter raw_starter(const placement& where, std::size_t messages) {
  return [=](const faulting_memory& memory) { return serve_by_raw(memory, where, messages); };
}

std::vector<candidate> against_raw(const toucher_plan& plan, const placement& where,
                                   const placement* library_where) {
  const starter raw = raw_starter(where, where.best_messages_per_read());
  const auto by_library = [&](opened_by who) -> starter {
    std::optional<placement> chosen;
    if (library_where != nullptr) chosen = *library_where;
    return [=](const faulting_memory& memory) {
      return serve_by_library(memory, chosen ? &*chosen : nullptr, who);
    };
  };
  return {make("raw C", plan, raw), make("raw C again", plan, raw),
          make("library", plan, by_library(opened_by::bench)),
          make("library (its own handle)", plan, by_library(opened_by::library))};
}

scenario pinned(const settings& set) {
  const int cpu = allowed_cpus().front();
  const placement where = one_on(cpu);
  return {"same_cpu", "One handler, pinned to the CPU of the one faulting thread",
          against_raw({1, cpu, set.faults}, where, &where)};
}

scenario unpinned(const settings& set) {
  const placement where = one_unpinned();
  return {"one_unpinned", "One handler and one faulting thread, both unpinned",
          against_raw({1, any_cpu, set.faults}, where, &where)};
}

scenario per_cpu(const settings& set, unsigned threads) {
  const toucher_plan plan{threads, any_cpu, set.faults};
  scenario result{
      fmt::format("per_cpu_{}", threads),
      fmt::format("One handler per CPU (the library's default), faulting threads: {}, unpinned\n\n"
                  "`raw C` reads one message at a time: what one handler takes, the others can't "
                  "serve meanwhile.",
                  threads),
      against_raw(plan, one_per_cpu(), nullptr)};
  auto& others = result.candidates;
  others.push_back(make("raw C (one unpinned)", plan, raw_starter(one_unpinned(), 16)));
  others.push_back(make("raw C (16 messages a read)", plan, raw_starter(one_per_cpu(), 16)));
  return result;
}

scenario in_thread(const settings& set) {
  const int cpu = allowed_cpus().front();
  const toucher_plan plan{1, cpu, set.faults};
  const auto threaded = [where = one_on(cpu)](const faulting_memory& memory) {
    return serve_by_library(memory, &where);
  };
  return {"in_thread",
          "Faults served in the one faulting thread, pinned\n\n"
          "`threaded` is a handler of the library on the same CPU.",
          {make("raw C", plan, serve_in_thread_by_raw),
           make("raw C again", plan, serve_in_thread_by_raw),
           make("library", plan, serve_in_thread_by_library), make("threaded", plan, threaded)}};
}

// The raw loop with one message a read or with 16, whichever is better here.
handler_kind best_raw(const scenario& in, double measurement::*value) {
  if (in.candidates.size() <= raw_batched) return raw_loop;
  const double single = results_of(in.candidates[raw_loop], value).median;
  const double batched = results_of(in.candidates[raw_batched], value).median;
  const bool is_better = value == &measurement::p50 ? batched < single : batched > single;
  return is_better ? raw_batched : raw_loop;
}

threshold compare(const scenario& in, const std::string& what, double measurement::*value,
                  handler_kind over, handler_kind under, double limit) {
  const auto& all = in.candidates;
  return {fmt::format("{} over {}, {}", what, all[under].name, in.name),
          ratios(all[over], all[under], value), ratios(all[raw_again], all[raw_loop], value), limit,
          value == &measurement::p50};
}

std::vector<threshold> thresholds(const scenario& in) {
  std::vector<threshold> asked;
  const auto p50 = &measurement::p50;
  const auto speed = &measurement::faults_per_second;
  if (in.name == "in_thread")
    return {compare(in, "library p50", p50, library, raw_loop, 1.10),
            compare(in, "library p50", p50, library, threaded, 0.65)};
  for (const auto kind : {library, library_own_handle})
    asked.push_back(
        compare(in, in.candidates[kind].name + " p50", p50, kind, best_raw(in, p50), 1.03));
  if (in.name == "per_cpu_1" || in.name == "per_cpu_2")
    asked.push_back(compare(in, "library faults/s", speed, library, best_raw(in, speed), 0.95));
  if (in.name == "per_cpu_2")
    asked.push_back(compare(in, "library faults/s", speed, library, raw_unpinned, 3));
  return asked;
}

void run(const settings& set) {
  std::vector<scenario> all{pinned(set), unpinned(set), per_cpu(set, 1), per_cpu(set, 2),
                            in_thread(set)};
  if (!set.only.empty())
    std::erase_if(all, [&](const scenario& each) { return each.name != set.only; });
  fmt::print(
      "{} pairs, {} faults or more each (COPY of one page), {} CPUs. Ratios are within a pair, to"
      " `raw C`: median (quartiles).\nCPU time: of the whole process, faulting threads and"
      " handlers, user and system.\n",
      set.pairs, set.faults, allowed_cpus().size());
  std::vector<threshold> asked;
  for (scenario& each : all) {
    const other_load load;
    interleave(each.candidates, set.pairs, [] { fmt::print(stderr, "."); });
    fmt::print(stderr, "\n");
    print_table(each);
    fmt::print("\nThe CPUs meanwhile: {}.\n", load.in_words());
    static_cast<void>(std::fflush(stdout));
    const auto more = thresholds(each);
    asked.insert(asked.end(), more.begin(), more.end());
  }
  print_thresholds(asked);
  if (!set.csv.empty()) write_csv(set.csv, all);
}

constexpr std::string_view usage =
    "usage: handler_overhead [--pairs N] [--faults N] [--csv FILE] [--only TABLE]\n"
    "  --pairs N    measurements of each handler, in turns (9)\n"
    "  --faults N   faults in each, at least (16384)\n"
    "  --csv FILE   every measurement\n"
    "  --only TABLE same_cpu, one_unpinned, per_cpu_1, per_cpu_2 or in_thread\n";

// Nothing if they are not understood.
std::optional<settings> parse(std::span<char*> arguments) {
  settings set;
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    const char* value = arguments[i + 1];
    if (name == "--pairs")
      set.pairs = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    else if (name == "--faults")
      set.faults = std::strtoul(value, nullptr, 10);
    else if (name == "--csv")
      set.csv = value;
    else if (name == "--only")
      set.only = value;
    else
      return std::nullopt;
  }
  if (arguments.size() % 2 != 0 || set.pairs == 0 || set.faults == 0) return std::nullopt;
  return set;
}

}  // namespace

int main(int argc, char** argv) {
  const auto set = parse(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
  if (!set) {
    fmt::print(stderr, usage);
    return EXIT_FAILURE;
  }
  try {
    run(*set);
  } catch (const std::exception& error) {
    fmt::print(stderr, "handler_overhead: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
