// SPDX-License-Identifier: MIT
// What paging a file by the library costs beside pagers written by hand, the kernel's own mapping
// and reading: all in one run, in turns, as ratios. Every byte that is read or written is checked.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/cpus.hpp"
#include "support/interleaved.hpp"
#include "support/numbered_file.hpp"
#include "support/other_load.hpp"
#include "support/overhead_report.hpp"
#include "support/paging_candidates.hpp"
#include "support/paging_report.hpp"
#include "support/paging_run.hpp"
#include "support/paging_thresholds.hpp"
#include "support/paging_workloads.hpp"

namespace {

using namespace uffd::bench;

struct settings {
  unsigned runs = 5;
  workload_sizes sizes;
  std::vector<std::string> only;
  std::vector<std::string> without;
  std::string folder = std::filesystem::temp_directory_path();
  std::string csv;
  bool tells = false;
  bool watches = true;
};

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A run of each apart: it is disturbed by being watched. Not where pages are read in order: they
// come and go while smaps is read, in the same direction, and would be counted more than once.
void watch_resident(paging_comparison& compared, const numbered_file& file,
                    const std::vector<named_pager>& pagers) {
  for (std::size_t i = 0; i < pagers.size(); ++i) {
    const auto watched =
        run_workload(compared.work, file, pagers[i].make, watching::resident_bytes);
    for (auto& each : compared.candidates[i].results) each.resident = watched.resident;
    fmt::print(stderr, ":");
  }
}

paging_comparison compare(const settings& set, paging_workload work) {
  const numbered_file file(set.folder, work.file_bytes);
  paging_comparison compared{std::move(work), {}, {}};
  compared.baseline = baseline_of(compared.work);
  auto pagers = pagers_for(compared.work, set.tells ? told::pattern : told::nothing);
  std::erase_if(pagers, [&](const named_pager& each) { return has(set.without, each.name); });
  for (const auto& each : pagers)
    compared.candidates.push_back({each.name,
                                   [&compared, &file, make = each.make] {
                                     return run_workload(compared.work, file, make,
                                                         watching::times);
                                   },
                                   {}});
  interleave(compared.candidates, set.runs, [] { fmt::print(stderr, "."); });
  if (set.watches && compared.work.plan.budget != 0 && !compared.work.plan.sequential)
    watch_resident(compared, file, pagers);
  for (auto& each : compared.candidates) each.run = nullptr;  // what it refers to ends here
  fmt::print(stderr, "\n");
  return compared;
}

void print_head(const settings& set) {
  fmt::print(
      "{} runs of each in turns, {} CPUs, {}. Ratios are within a turn: median (quartiles). p50"
      " and p99: of as many of the slowest accesses as there were faults. CPU time: of the whole"
      " process, user and system. Resident: the most that was seen in a run apart. End: until all"
      " that was written is on disk.\n",
      set.runs, allowed_cpus().size(),
      set.sizes.direct ? "a file read and written by O_DIRECT" : "a file in the page cache");
}

void run(const settings& set) {
  std::vector<paging_comparison> all;
  std::vector<threshold> asked;
  print_head(set);
  for (auto& work : all_workloads(set.sizes)) {
    if (!set.only.empty() && !has(set.only, work.name)) continue;
    const other_load load;
    all.push_back(compare(set, std::move(work)));
    print_table(all.back());
    fmt::print("\nThe CPUs meanwhile: {}.\n", load.in_words());
    static_cast<void>(std::fflush(stdout));
    const auto more = thresholds(all.back());
    asked.insert(asked.end(), more.begin(), more.end());
  }
  print_bounds(all);
  print_thresholds(asked);
  if (!set.csv.empty()) write_csv(set.csv, all);
}

}  // namespace

int main(int argc, char** argv) {
  settings set;
  CLI::App arguments("The library's pagers beside hand-written ones and the kernel.");
  arguments.add_option("--runs", set.runs, "of each candidate, in turns")
      ->check(CLI::Range(1, 1000));
  arguments.add_option("--file", set.sizes.file, "bytes of the file; W5 has an eighth (K, M, G)")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::size_t{16} << 20, std::size_t{1} << 40));
  arguments.add_option("--accesses", set.sizes.accesses, "at random; W5 has ten times as many")
      ->check(CLI::Range(100, 100'000'000));
  arguments.add_option("--only", set.only, "workloads: W1, W1b, W2, W2x2, W2x4, W3, W4, W4b, W5");
  arguments.add_option("--without", set.without, "candidates, as the tables name them");
  arguments.add_option("--folder", set.folder, "where the file is made");
  arguments.add_option("--csv", set.csv, "where every run is written");
  arguments.add_flag("--direct", set.sizes.direct, "read and write by O_DIRECT");
  arguments.add_flag("--tell", set.tells, "tell the library how the memory will be used");
  arguments.add_flag("!--no-watch", set.watches, "don't watch the resident bytes");
  CLI11_PARSE(arguments, argc, argv);
  try {
    run(set);
  } catch (const std::exception& error) {
    fmt::print(stderr, "pager_workloads: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
