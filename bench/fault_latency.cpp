// SPDX-License-Identifier: MIT
// How long a thread waits for a page, by technique, size, faulting threads and placement of
// handlers. The time is taken by the thread that faults, around one access; memory is prepared
// outside of it.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/cpus.hpp"
#include "support/faulting_memory.hpp"
#include "support/huge_pages.hpp"
#include "support/samples.hpp"
#include "support/servers.hpp"
#include "support/touchers.hpp"

namespace {

using namespace uffd::bench;

struct named_placement {
  std::string_view name;
  std::optional<placement> handlers;  // none: the library's own choice
  int touching_cpu = any_cpu;
};

std::vector<named_placement> placements() {
  const std::vector<int> cpus = allowed_cpus();
  std::vector<named_placement> all{{"default", std::nullopt},
                                   {"one_unpinned", one_unpinned()},
                                   {"same_cpu", one_on(cpus.front()), cpus.front()}};
  if (cpus.size() < 2) return all;
  all.push_back({"other_cpu", one_on(cpus[1]), cpus[0]});
  all.push_back({"busy_polling", placement{{cpus[1]}, true}, cpus[0]});
  return all;
}

struct setting {
  workload work;
  unsigned threads = 1;
  named_placement where;
};

using distributions = std::map<std::string, std::vector<std::pair<double, nanoseconds>>>;

void report(benchmark::State& state, const samples& latencies, nanoseconds wall, nanoseconds cpu) {
  const auto faults = static_cast<double>(latencies.size());
  const auto in_us = [](nanoseconds value) { return static_cast<double>(value) / 1e3; };
  state.counters["p50_us"] = in_us(latencies.percentile(0.5));
  state.counters["p90_us"] = in_us(latencies.percentile(0.9));
  state.counters["p99_us"] = in_us(latencies.percentile(0.99));
  state.counters["max_us"] = in_us(latencies.maximum());
  state.counters["faults_per_s"] = faults * 1e9 / static_cast<double>(wall);
  state.counters["cpu_us_per_fault"] = in_us(cpu) / faults;
}

void measure(benchmark::State& state, const setting& set, const std::string& name,
             distributions& seen) {
  const faulting_memory memory(set.work);
  const auto handler =
      serve_by_library(memory, set.where.handlers ? &*set.where.handlers : nullptr);
  touchers threads(memory, set.threads, set.where.touching_cpu);
  memory.prepare(handler->on());
  threads.run();  // page tables, branch predictors, the scheduler's idea of who wakes whom

  std::vector<nanoseconds> latencies;
  nanoseconds wall = 0;
  nanoseconds cpu = 0;
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(memory.block_count()))) {
    memory.prepare(handler->on());
    const round_result round = threads.run();
    nanoseconds sum = 0;
    for (const nanoseconds each : round.latencies) sum += each;
    state.SetIterationTime(static_cast<double>(sum) / 1e9);
    latencies.insert(latencies.end(), round.latencies.begin(), round.latencies.end());
    wall += round.wall;
    cpu += round.cpu;
  }
  const samples all(std::move(latencies));
  report(state, all, wall, cpu);
  // Called several times, with more iterations each time: the last is what counts.
  seen[name] = all.distribution();
}

void add(const setting& set, std::string_view technique, distributions& seen) {
  const std::string name =
      fmt::format("fault_latency/{}/pages:{}/threads:{}/placement:{}", technique,
                  set.work.pages_per_resolution, set.threads, set.where.name);
  const auto run = [set, name, &seen](benchmark::State& state) {
    try {
      measure(state, set, name, seen);
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->UseManualTime()->Unit(benchmark::kMicrosecond);
}

void add_small_pages(const std::vector<named_placement>& everywhere, distributions& seen) {
  constexpr std::size_t fewest_blocks = 256;
  for (const technique how : all_techniques)
    for (const std::size_t pages : {1U, 16U, 64U})
      for (const unsigned threads : {1U, 2U, 4U})
        for (const named_placement& where : everywhere) {
          workload work{.how = how, .pages_per_resolution = pages};
          work.bytes = std::max(work.bytes, fewest_blocks * pages * work.page_size);
          add({work, threads, where}, name_of(how), seen);
        }
}

void add_huge_pages(const std::vector<named_placement>& everywhere, distributions& seen) {
  constexpr std::size_t enough = 32;
  const huge_page_pool pool = reserved_huge_pages();
  for (const technique how : {technique::copy, technique::continue_, technique::write_unprotect}) {
    const std::string name = "huge_" + std::string(name_of(how));
    if (pool.free == 0) {
      benchmark::RegisterBenchmark(("fault_latency/" + name).c_str(), [](benchmark::State& state) {
        state.SkipWithError("skipped: no huge pages are reserved (vm.nr_hugepages)");
      });
      continue;
    }
    const workload work{.how = how,
                        .bytes = std::min(pool.free, enough) * pool.page_size,
                        .page_size = pool.page_size};
    for (const named_placement& where : everywhere) add({work, 1, where}, name, seen);
  }
}

void write_distributions(const std::string& path, const distributions& seen) {
  std::ofstream file(path);
  file << "benchmark,fraction,latency_ns\n";
  for (const auto& [name, points] : seen)
    for (const auto& [fraction, latency] : points)
      file << fmt::format("{},{:.4f},{}\n", name, fraction, latency);
  if (!file.flush()) fmt::print(stderr, "fault_latency: cannot write {}\n", path);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::string_view samples_option = "--samples=";
  std::string samples_file;
  // Earlier than the user's own, which therefore wins.
  std::string quick = "--benchmark_min_time=0.2";
  std::vector<char*> arguments{argv[0], quick.data()};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(samples_option))
      samples_file = argument.substr(samples_option.size());
    else
      arguments.push_back(argv[i]);
  }

  distributions seen;
  const auto everywhere = placements();
  add_small_pages(everywhere, seen);
  add_huge_pages(everywhere, seen);
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
    fmt::print(stderr, "  {}FILE   distribution of the latencies, as CSV\n", samples_option);
    return EXIT_FAILURE;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (!samples_file.empty()) write_distributions(samples_file, seen);
  return EXIT_SUCCESS;
}
