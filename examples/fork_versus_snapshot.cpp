// SPDX-License-Identifier: MIT
// A table saved while threads write to it, by a forked child and by the library: what each costs
// the writers.
#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "fork_versus_snapshot/by_fork.hpp"
#include "fork_versus_snapshot/by_snapshot.hpp"
#include "fork_versus_snapshot/chart.hpp"
#include "support/pair_table.hpp"
#include "support/sizes.hpp"
#include "support/snapshot_support.hpp"
#include "support/unix_socket.hpp"

namespace fvs = fork_versus_snapshot;

namespace {

struct settings {
  std::uint64_t size = std::uint64_t{256} << 20;
  unsigned writers = 2;
  unsigned runs = 3;
  double percent = 5;
  bool huge_pages = false;
  std::string folder;
  std::string svg;
};

std::vector<fvs::row> measure(const settings& chosen, const std::filesystem::path& folder) {
  const auto shape = examples::pair_table_shape::of_size(chosen.size, chosen.writers);
  std::vector<fvs::measurement> forked;
  std::vector<fvs::measurement> first;
  std::vector<fvs::measurement> second;
  const auto by_fork = [&] {
    forked.push_back(fvs::save_by_fork(folder, shape, chosen.huge_pages));
  };
  for (unsigned run = 0; run < chosen.runs; ++run) {
    // Neither always comes after the other one.
    if (run % 2 == 0) by_fork();
    const auto both = fvs::save_by_snapshot(folder, shape, chosen.huge_pages, chosen.percent / 100);
    first.push_back(both.first);
    second.push_back(both.second);
    if (run % 2 != 0) by_fork();
  }
  return {{"fork()", fvs::median_of(forked)},
          {"snapshot", fvs::median_of(first)},
          {fmt::format("again, {} % changed", chosen.percent), fvs::median_of(second)}};
}

void run(const settings& chosen) {
  const examples::temporary_folder scratch;
  const auto rows = measure(chosen, chosen.folder.empty() ? scratch.path() : chosen.folder);
  fmt::print("{}", fvs::table_of(rows));
  if (!chosen.svg.empty()) {
    std::ofstream file(chosen.svg);
    if (!(file << fvs::svg_of(rows)).flush()) throw std::runtime_error("can't write " + chosen.svg);
  }
  fmt::print(
      "fork_versus_snapshot: {} written by {} threads, saved {} times each way, all of one moment, "
      "pauses {:.2f} and {:.2f} of fork's\n",
      examples::format_size(chosen.size), chosen.writers, chosen.runs,
      rows[1].values.pause / rows[0].values.pause, rows[2].values.pause / rows[0].values.pause);
}

void add_options(CLI::App& arguments, settings& chosen) {
  examples::add_size(arguments, "--size", chosen.size, 1 << 20, "bytes of the table (K, M, G)");
  arguments.add_option("--writers", chosen.writers, "threads that write")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  arguments.add_option("--runs", chosen.runs, "of which medians are shown")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  arguments.add_option("--percent", chosen.percent, "pages written between the two snapshots")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  arguments.add_flag("--huge-pages", chosen.huge_pages, "a table of transparent huge pages");
  arguments.add_option("--folder", chosen.folder, "for the files; by default a temporary one")
      ->check(CLI::ExistingDirectory);
  arguments.add_option("--svg", chosen.svg, "a file for a picture");
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("What it costs writers to save a table by fork(), and by the library.");
  add_options(arguments, chosen);
  CLI11_PARSE(arguments, argc, argv);
  if (const auto lacking = examples::what_snapshots_lack(); !lacking.empty()) {
    fmt::print(stderr, "fork_versus_snapshot: {}\n", lacking);
    return 77;
  }
  try {
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "fork_versus_snapshot: {}\n", error.what());
    return 1;
  }
}
