// SPDX-License-Identifier: MIT
// One epoch of tracking: write a part of the pages, scattered, then ask which and begin anew. The
// library's write_tracker, the same system calls by hand, and SIGSEGV with mprotect(2), in turns.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/interleaved.hpp"
#include "support/other_load.hpp"
#include "support/raw_tracker.h"
#include "uffd/error.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/region.hpp"
#include "uffd/tracking/write_tracker.hpp"
#include "uffd/unique_fd.hpp"

namespace {

using namespace uffd;
using clock_type = std::chrono::steady_clock;

struct settings {
  unsigned runs = 9;
  std::size_t size = std::size_t{4} << 30;
  double share = 5;  // percent
};

struct epoch {
  double total = 0;  // milliseconds, as all
  double writing = 0;
  double collecting = 0;
};
using candidate = bench::basic_candidate<epoch>;

double milliseconds(clock_type::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

std::vector<std::size_t> chosen_pages(const settings& set) {
  const auto pages = set.size / page_size();
  std::vector<std::size_t> all(pages);
  for (std::size_t i = 0; i < pages; ++i) all[i] = i;
  std::mt19937_64 random;  // of the same seed in every run
  std::shuffle(all.begin(), all.end(), random);
  all.resize(static_cast<std::size_t>(static_cast<double>(pages) * set.share / 100));
  return all;
}

mapping filled(std::size_t bytes) {
  auto memory = mapping::anonymous(bytes);
  const auto all = memory.bytes();
  ::madvise(all.data(), all.size(), MADV_NOHUGEPAGE);
  if (::madvise(all.data(), all.size(), MADV_POPULATE_WRITE) != 0)
    uffd::detail::throw_errno(errno, "MADV_POPULATE_WRITE");
  return memory;
}

template <class Collect>
epoch measured(const mapping& memory, const std::vector<std::size_t>& pages, Collect&& collect) {
  auto* const bytes = reinterpret_cast<volatile unsigned char*>(memory.bytes().data());
  const auto page = page_size();
  const auto begin = clock_type::now();
  for (const auto each : pages) bytes[each * page] = 1;
  const auto written = clock_type::now();
  const std::size_t found = collect();
  const auto end = clock_type::now();
  if (found != pages.size())
    throw std::runtime_error(fmt::format("{} pages written, {} found", pages.size(), found));
  return {milliseconds(end - begin), milliseconds(written - begin), milliseconds(end - written)};
}

std::size_t counted(long pages, const char* what) {
  if (pages < 0) uffd::detail::throw_errno(errno, what);
  return static_cast<std::size_t>(pages);
}

// Each has memory of its own, tracked from the begin.
class trackers {
 public:
  explicit trackers(const settings& set)
      : pages_(chosen_pages(set)),
        by_library_(filled(set.size)),
        by_hand_(filled(set.size)),
        tracked_(write_tracker().track(by_library_)),
        on_(handle::open({.required = feature::wp_async})),
        registered_(on_, by_hand_, register_mode::write_protect),
        pagemap_(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {
    registered_.complete();
    if (!on_.write_protect(by_hand_.range())) throw std::runtime_error("UFFDIO_WRITEPROTECT");
  }

  epoch library() const {
    return measured(by_library_, pages_, [this] {
      std::size_t found = 0;
      tracked_.collect([&](page_range run) { found += run.size() / page_size(); });
      return found;
    });
  }
  epoch hand() const {
    return measured(by_hand_, pages_, [this] {
      const auto range = by_hand_.range();
      return counted(raw_tracker_collect(pagemap_.get(), range.begin(), range.size()),
                     "PAGEMAP_SCAN");
    });
  }
  std::size_t pages() const { return pages_.size(); }
  const std::vector<std::size_t>& chosen() const { return pages_; }

 private:
  std::vector<std::size_t> pages_;
  mapping by_library_;
  mapping by_hand_;
  tracked_memory tracked_;
  handle on_;
  region registered_;
  unique_fd pagemap_;
};

// Every page that is written becomes a mapping of its own.
bool allows_mappings(std::size_t count) {
  std::size_t most = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> most;
  return most > 2 * count + 1000;
}

class segv_tracker {
 public:
  segv_tracker(std::size_t bytes, std::size_t most) : memory_(filled(bytes)) {
    if (segv_tracker_start(memory_.range().begin(), bytes, most) != 0)
      uffd::detail::throw_errno(errno, "SIGSEGV + mprotect");
  }
  segv_tracker(const segv_tracker&) = delete;
  segv_tracker& operator=(const segv_tracker&) = delete;
  ~segv_tracker() { segv_tracker_stop(); }

  epoch run(const std::vector<std::size_t>& pages) const {
    return measured(memory_, pages, [] { return counted(segv_tracker_collect(), "mprotect"); });
  }

 private:
  mapping memory_;
};

void print(const std::vector<candidate>& all) {
  const auto& baseline = all[1];
  fmt::print("| | epoch, ms | writing | collecting | ratio |\n|---|--:|--:|--:|--:|\n");
  for (const auto& each : all) {
    const auto ratio = bench::ratios(each, baseline, &epoch::total);
    fmt::print("| {} | {:.1f} | {:.1f} | {:.1f} | {:.3f} ({:.3f}-{:.3f}) |\n", each.name,
               bench::results_of(each, &epoch::total).median,
               bench::results_of(each, &epoch::writing).median,
               bench::results_of(each, &epoch::collecting).median, ratio.median,
               ratio.lower_quartile, ratio.upper_quartile);
  }
}

void run(const settings& set) {
  const trackers both(set);
  std::vector<candidate> all;
  all.push_back({"write_tracker", [&] { return both.library(); }, {}});
  all.push_back({"by hand", [&] { return both.hand(); }, {}});
  all.push_back({"by hand again", [&] { return both.hand(); }, {}});
  std::optional<segv_tracker> segv;
  if (allows_mappings(both.pages())) {
    segv.emplace(set.size, both.pages());
    all.push_back({"SIGSEGV + mprotect", [&] { return segv->run(both.chosen()); }, {}});
  }
  const bench::other_load load;
  bench::interleave(all, set.runs, [] { fmt::print(stderr, "."); });
  fmt::print(stderr, "\n");
  fmt::print(
      "{} pages of {} bytes written of {} MiB, at random; {} runs in turns, medians; ratios"
      " of an epoch to that by hand within a turn (quartiles)\n\n",
      both.pages(), page_size(), set.size >> 20, set.runs);
  print(all);
  fmt::print("\nThe CPUs meanwhile: {}.\n", load.in_words());
  if (!segv)
    fmt::print("SIGSEGV + mprotect is left out: vm.max_map_count must be more than {}.\n",
               2 * both.pages() + 1000);
}

}  // namespace

int main(int argc, char** argv) {
  settings set;
  CLI::App arguments("Tracking writes by the library, by hand, and by SIGSEGV.");
  arguments.add_option("--runs", set.runs, "of each, in turns")->check(CLI::Range(1, 1000));
  arguments.add_option("--size", set.size, "bytes of memory for each (K, M, G)")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::size_t{1} << 20, std::size_t{1} << 40));
  arguments.add_option("--share", set.share, "percent of the pages that are written")
      ->check(CLI::Range(0.01, 100.0));
  CLI11_PARSE(arguments, argc, argv);
  try {
    run(set);
  } catch (const std::exception& error) {
    fmt::print(stderr, "tracked_epoch: {}\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
