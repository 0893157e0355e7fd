// SPDX-License-Identifier: MIT
// Sorts a file of 64-bit integers in place, through memory that may fill a budget only: runs of
// half the budget are sorted by std::sort in a scratch file beside it, mapped too, and then merged
// into the file. So each page of both is written once, whatever the budget; std::sort of the whole
// would write all of it for each time that it is halved until it fits. Whoever ends this while runs
// are merged is left with a file that has some integers twice and lacks others.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "sort_file/merging.hpp"
#include "sort_file/numbers.hpp"
#include "support/access_error.hpp"
#include "support/live_line.hpp"
#include "support/sizes.hpp"

using examples::format_size;

namespace {

struct settings {
  std::string path;
  std::uint64_t budget = std::uint64_t{1} << 20;
  std::uint64_t made = 0;
};

// Where the file lies, and so the scratch file.
std::filesystem::path folder_of(const settings& chosen) {
  return chosen.path.empty() ? std::filesystem::temp_directory_path()
                             : std::filesystem::absolute(chosen.path).parent_path();
}

uffd::file_source open_source(const settings& chosen) {
  auto file = chosen.path.empty() ? sort_file::make_scratch_file(folder_of(chosen))
                                  : sort_file::open_file(chosen.path, chosen.made != 0);
  sort_file::fill_at_random(file.get(), chosen.made);
  return uffd::file_source(std::move(file), uffd::file_access::read_write);
}

uffd::file_source make_scratch(const settings& chosen, std::uint64_t bytes) {
  auto file = sort_file::make_scratch_file(folder_of(chosen));
  std::filesystem::resize_file(fmt::format("/proc/self/fd/{}", file.get()), bytes);
  return uffd::file_source(std::move(file), uffd::file_access::read_write);
}

// The number of runs there were.
std::size_t sort(uffd::file_source& file, const settings& chosen) {
  const uffd::pager_options options{.budget = uffd::memory_budget(chosen.budget),
                                    .statistics = true};
  // As long as a slow disk may let a page wait that needs room.
  const uffd::map_options how{.writes = uffd::write_policy::write_back,
                              .deadline = std::chrono::minutes(1)};
  const uffd::pager pager(options);
  const auto memory = pager.map(std::ref(file), how);
  const auto scratch = pager.map(make_scratch(chosen, file.size()), how);

  std::atomic<std::uint64_t> sorted{0};
  std::atomic<std::uint64_t> merged{0};
  const examples::live_line shown([&] {
    const auto one = memory.statistics();
    const auto other = scratch.statistics();
    return fmt::format("{} sorted, {} merged: {} resident, {} pages loaded, {} written", sorted,
                       merged, format_size(options.budget.resident()),
                       one.pages_loaded + other.pages_loaded,
                       one.pages_written + other.pages_written);
  });
  const auto run_size = static_cast<std::size_t>(chosen.budget) / 2 / sizeof(std::uint64_t);
  sort_file::sort_runs(memory, scratch, run_size, sorted);
  sort_file::merge_runs(scratch, memory, run_size, chosen.budget / 4, merged);
  if (const auto error = memory.flush()) throw std::system_error(error, "writing it back");
  return (memory.as<std::uint64_t>().size() + run_size - 1) / run_size;
}

void run(const settings& chosen) {
  auto file = open_source(chosen);
  const auto before = sort_file::read_content(file.fd());
  const auto runs = sort(file, chosen);
  const auto after = sort_file::read_content(file.fd());
  if (!after.is_sorted) throw std::runtime_error("it is not sorted");
  if (after.count != before.count || after.hash != before.hash)
    throw std::runtime_error("it does not hold what it held before");
  fmt::print("sort_file: {} integers of {} through {}, {} runs merged, in order and all there\n",
             after.count, format_size(file.size()), format_size(chosen.budget), runs);
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Sorts a file of 64-bit integers, of this machine's byte order, in place.");
  arguments.add_option("FILE", chosen.path, "what to sort; by default a temporary file");
  examples::add_size(arguments, "--budget", chosen.budget, std::uint64_t{512} << 10,
                     "bytes that may be resident");
  examples::add_size(arguments, "--make", chosen.made, 1,
                     "random integers, of which to make FILE first");
  CLI11_PARSE(arguments, argc, argv);
  if (chosen.path.empty() && chosen.made == 0) chosen.made = std::uint64_t{1} << 20;

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "sort_file: {}\n", support.advice());
    return 77;
  }
  examples::end_on_access_error();
  try {
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "sort_file: {}: {}\n", chosen.path, error.what());
    return 1;
  }
}
