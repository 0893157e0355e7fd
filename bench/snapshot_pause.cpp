// SPDX-License-Identifier: MIT
// How long writers stand still for a snapshot: the first one, and one after a part of the pages was
// written, by the library and by fork(2), in turns. Each run has fresh memory.
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "support/interleaved.hpp"
#include "support/other_load.hpp"
#include "uffd/error.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"
#include "uffd/tracking/snapshot.hpp"

namespace {

using namespace uffd;
using clock_type = std::chrono::steady_clock;

struct settings {
  unsigned runs = 5;
  std::size_t size = std::size_t{4} << 30;
  double share = 5;           // percent
  std::size_t meanwhile = 0;  // pages that are written between protecting ahead and the moment
  unsigned threads = 2;
  bool huge = false;
  std::filesystem::path folder = std::filesystem::temp_directory_path();
};

struct pauses {
  double first = 0;   // milliseconds
  double second = 0;  // as above
  double ahead = 0;   // milliseconds for the first: what take() does before, while writers go on
  double write = 0;   // microseconds for the first write to a page, after the first
};
using candidate = bench::basic_candidate<pauses>;

double milliseconds(clock_type::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

std::vector<std::size_t> chosen_pages(const settings& set) {
  std::vector<std::size_t> all(set.size / page_size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::mt19937_64 random;  // of the same seed in every run
  std::shuffle(all.begin(), all.end(), random);
  all.resize(static_cast<std::size_t>(static_cast<double>(all.size()) * set.share / 100));
  return all;
}

// All there; only what is written later is not zero, so that files are small.
mapping filled(const settings& set) {
  auto memory = mapping::anonymous(set.size);
  const auto all = memory.bytes();
  ::madvise(all.data(), all.size(), set.huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (::madvise(all.data(), all.size(), MADV_POPULATE_WRITE) != 0)
    uffd::detail::throw_errno(errno, "MADV_POPULATE_WRITE");
  return memory;
}

// Microseconds for each.
double write_all(const mapping& memory, std::span<const std::size_t> pages) {
  auto* const bytes = reinterpret_cast<volatile unsigned char*>(memory.bytes().data());
  const auto begin = clock_type::now();
  for (const auto each : pages) bytes[each * page_size()] = 1;
  return 1000 * milliseconds(clock_type::now() - begin) / static_cast<double>(pages.size());
}

pauses by_library(const settings& set, const std::vector<std::size_t>& pages) {
  auto memory = filled(set);
  const std::array areas{snapshot_area{memory.range(), page_size()}};
  snapshotter snapshots(areas, {.protect_threads = set.threads});
  const auto take = [&](const char* name) {
    const auto path = set.folder / name;
    std::filesystem::remove(path);
    const auto begun = clock_type::now();
    clock_type::time_point ready;
    clock_type::time_point stopped;
    clock_type::duration pause{};
    auto running = snapshots.take(
        path,
        [&] {
          ready = clock_type::now();
          write_all(memory, std::span(pages).first(std::min(pages.size(), set.meanwhile)));
          stopped = clock_type::now();
        },
        [&] { pause = clock_type::now() - stopped; });
    running.wait();
    return std::pair(milliseconds(ready - begun), milliseconds(pause));
  };
  pauses result;
  std::tie(result.ahead, result.first) = take("snapshot_pause.first");
  result.write = write_all(memory, pages);
  result.second = take("snapshot_pause.second").second;
  return result;
}

// The child would save, and end; here it only waits until all is measured.
class forked_child {
 public:
  forked_child() {
    if (::pipe(ends_.data()) != 0) uffd::detail::throw_errno(errno, "pipe");
    const auto begin = clock_type::now();
    process_ = ::fork();
    if (process_ == 0) {
      ::close(ends_[1]);
      char nothing = 0;
      ::_exit(::read(ends_[0], &nothing, 1) == 0 ? 0 : 1);
    }
    pause_ = milliseconds(clock_type::now() - begin);
    ::close(ends_[0]);
    if (process_ < 0) uffd::detail::throw_errno(errno, "fork");
  }
  forked_child(const forked_child&) = delete;
  forked_child& operator=(const forked_child&) = delete;
  ~forked_child() {
    ::close(ends_[1]);
    ::waitpid(process_, nullptr, 0);
  }
  double pause() const { return pause_; }

 private:
  std::array<int, 2> ends_{};
  pid_t process_ = -1;
  double pause_ = 0;
};

pauses by_fork(const settings& set, const std::vector<std::size_t>& pages) {
  const auto memory = filled(set);
  pauses result;
  {
    const forked_child child;
    result.first = child.pause();
    result.write = write_all(memory, pages);
  }
  result.second = forked_child().pause();
  return result;
}

void print(const std::vector<candidate>& all) {
  fmt::print(
      "| | first, ms | of fork's | second, ms | of fork's | before the first, ms | first write to "
      "a "
      "page, us |\n"
      "|---|--:|--:|--:|--:|--:|--:|\n");
  for (const auto& each : all) {
    const auto first = bench::ratios(each, all[1], &pauses::first);
    const auto second = bench::ratios(each, all[1], &pauses::second);
    fmt::print(
        "| {} | {:.2f} | {:.2f} ({:.2f}-{:.2f}) | {:.2f} | {:.2f} ({:.2f}-{:.2f}) | {:.1f} | "
        "{:.2f} "
        "|\n",
        each.name, bench::results_of(each, &pauses::first).median, first.median,
        first.lower_quartile, first.upper_quartile, bench::results_of(each, &pauses::second).median,
        second.median, second.lower_quartile, second.upper_quartile,
        bench::results_of(each, &pauses::ahead).median,
        bench::results_of(each, &pauses::write).median);
  }
}

void run(const settings& set) {
  const auto pages = chosen_pages(set);
  std::vector<candidate> all;
  all.push_back({"snapshotter", [&] { return by_library(set, pages); }, {}});
  all.push_back({"fork", [&] { return by_fork(set, pages); }, {}});
  all.push_back({"fork again", [&] { return by_fork(set, pages); }, {}});
  const bench::other_load load;
  bench::interleave(all, set.runs, [] { fmt::print(stderr, "."); });
  fmt::print(stderr, "\n");
  fmt::print(
      "{} MiB of private memory, {} pages; {} threads protect; {} of {} pages written between "
      "first "
      "and second, at random; {} runs in turns, medians; ratios within a turn (quartiles)\n\n",
      set.size >> 20, set.huge ? "transparent huge" : "small", set.threads, pages.size(),
      set.size / page_size(), set.runs);
  print(all);
  fmt::print("\nThe CPUs meanwhile: {}.\n", load.in_words());
}

}  // namespace

int main(int argc, char** argv) {
  settings set;
  CLI::App arguments("How long writers stand still for a snapshot, and for fork(2).");
  arguments.add_option("--runs", set.runs, "of each, in turns")->check(CLI::Range(1, 1000));
  arguments.add_option("--size", set.size, "bytes of memory (K, M, G)")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::size_t{1} << 20, std::size_t{1} << 40));
  arguments.add_option("--share", set.share, "percent of the pages that are written in between")
      ->check(CLI::Range(0.01, 100.0));
  arguments.add_option("--meanwhile", set.meanwhile,
                       "of those pages, written after all is protected and just before the pause");
  arguments.add_option("--threads", set.threads, "that protect")->check(CLI::Range(1, 64));
  arguments.add_flag("--huge", set.huge, "transparent huge pages");
  arguments.add_option("--folder", set.folder, "for the files, which are removed");
  CLI11_PARSE(arguments, argc, argv);
  try {
    run(set);
  } catch (const std::exception& error) {
    fmt::print(stderr, "snapshot_pause: {}\n", error.what());
    return EXIT_FAILURE;
  }
  std::error_code ignored;
  for (const char* name : {"snapshot_pause.first", "snapshot_pause.second"})
    std::filesystem::remove(set.folder / name, ignored);
  return EXIT_SUCCESS;
}
