// SPDX-License-Identifier: MIT
// Saves a key-value table again and again while threads write to it, and checks that each file has
// what the table was at one moment.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include "live_snapshot/kills.hpp"
#include "live_snapshot/loading.hpp"
#include "support/access_error.hpp"
#include "support/pair_table.hpp"
#include "support/sizes.hpp"
#include "support/snapshot_support.hpp"
#include "support/table_writers.hpp"
#include "support/unix_socket.hpp"

using examples::format_size;

namespace {

struct settings {
  std::uint64_t entries = 2'000'000;
  unsigned writers = 2;
  double rate = 10'000;
  std::uint64_t snapshots = 10;
  std::string folder;
  bool lazy = false;
  bool huge_pages = false;
  bool unchecked = false;
  unsigned kills = 0;

  examples::pair_table_shape shape() const { return {entries / 2, writers}; }
};

double milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// At once, for whoever reads it by a pipe and kills this process.
void tell(const std::string& file, const uffd::snapshot_report& report) {
  fmt::print("{}: {}, {} in {:.0f} ms, pause {:.2f} ms, longest wait of a writer {:.2f} ms\n", file,
             report.is_delta ? "changes" : "all", format_size(report.saved_bytes),
             milliseconds(report.duration), milliseconds(report.pause),
             milliseconds(report.longest_wait));
  std::fflush(stdout);
}

void save_while_written(const settings& chosen, const std::filesystem::path& folder) {
  const auto shape = chosen.shape();
  const auto memory = examples::memory_for(shape, chosen.huge_pages);
  examples::pair_table table(memory.bytes(), shape);
  table.fill();
  const std::array areas{uffd::snapshot_area{memory.range(), memory.page_size()}};
  uffd::snapshotter snapshots(areas);
  examples::table_writers writers(table, chosen.rate);
  std::uint64_t saved = 0;
  for (std::uint64_t number = 1; number <= chosen.snapshots; ++number) {
    const auto path = folder / fmt::format("table.{}", number);
    const auto report = snapshots.take(path, writers.gate()).wait();
    tell(path.filename(), report);
    saved += report.saved_bytes;
    if (!chosen.unchecked) live_snapshot::check_file(path, shape, chosen.lazy);
  }
  fmt::print(
      "live_snapshot: {} entries saved {} times, {} in all, during {} transfers, {} of one "
      "moment\n",
      chosen.entries, chosen.snapshots, format_size(saved), writers.transfers(),
      chosen.unchecked ? "none checked to be" : "each");
}

void save_and_be_killed(const settings& chosen, const std::filesystem::path& folder) {
  const auto arguments =
      fmt::format("--entries {} --writers {} --rate {}{}", chosen.entries, chosen.writers,
                  chosen.rate, chosen.huge_pages ? " --huge-pages" : "");
  live_snapshot::outcome sum;
  for (unsigned kill = 1; kill <= chosen.kills; ++kill) {
    const auto of_child = folder / fmt::format("killed.{}", kill);
    std::filesystem::create_directory(of_child);
    const auto told = live_snapshot::kill_while_saving(of_child, arguments, kill);
    const auto found = live_snapshot::check_folder(of_child, told, chosen.shape(), chosen.lazy);
    fmt::print("{}: {} snapshots were complete, {} files were not\n", of_child.filename().string(),
               found.complete, found.refused);
    sum.complete += found.complete;
    sum.refused += found.refused;
    if (chosen.folder.empty()) std::filesystem::remove_all(of_child);
  }
  fmt::print(
      "live_snapshot: killed {} times, {} complete snapshots, the last ones of one moment, {} "
      "incomplete ones refused\n",
      chosen.kills, sum.complete, sum.refused);
}

void run(const settings& chosen) {
  const examples::temporary_folder scratch;
  const std::filesystem::path folder = chosen.folder.empty() ? scratch.path() : chosen.folder;
  if (chosen.kills != 0)
    save_and_be_killed(chosen, folder);
  else
    save_while_written(chosen, folder);
}

void add_options(CLI::App& arguments, settings& chosen) {
  arguments.add_option("--entries", chosen.entries, "of the table")
      ->capture_default_str()
      ->check(CLI::Range(1000, 1 << 30));
  arguments.add_option("--writers", chosen.writers, "threads that write")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  arguments.add_option("--rate", chosen.rate, "transfers a second of each; 0: as many as it can")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  arguments.add_option("--snapshots", chosen.snapshots, "to take")->capture_default_str();
  arguments.add_option("--folder", chosen.folder, "for the files; by default one that is removed")
      ->check(CLI::ExistingDirectory);
  arguments.add_flag("--lazy", chosen.lazy, "load by a pager, what is touched only");
  arguments.add_flag("--huge-pages", chosen.huge_pages, "a table of transparent huge pages");
  arguments.add_flag("--unchecked", chosen.unchecked, "do not load what was saved");
  arguments.add_option("--kill", chosen.kills, "so many processes, while they take snapshots");
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Saves a table again and again while threads write to it.");
  add_options(arguments, chosen);
  CLI11_PARSE(arguments, argc, argv);
  if (const auto lacking = examples::what_snapshots_lack(); !lacking.empty()) {
    fmt::print(stderr, "live_snapshot: {}\n", lacking);
    return 77;
  }
  examples::end_on_access_error();
  try {
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "live_snapshot: {}\n", error.what());
    return 1;
  }
}
