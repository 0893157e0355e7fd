// SPDX-License-Identifier: MIT
// Reads a file through a mapping that is much larger than the memory it may fill: all of it from
// begin to end, then words at random, and compares both with what read(2) gives.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <uffd/uffd.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "larger_than_memory/checksum.hpp"
#include "larger_than_memory/residency.hpp"
#include "support/access_error.hpp"
#include "support/live_line.hpp"
#include "support/sizes.hpp"

using examples::format_size;
using larger_than_memory::sum_at_random;

namespace {

constexpr std::uint64_t least_budget = std::uint64_t{256} << 10;

struct settings {
  std::string path = "/proc/self/exe";
  std::uint64_t budget = 0;
  bool in_thread = false;
  std::uint64_t random = 20000;
};

// Calls `between(bytes)` after each part that was read, 256 times at most.
template <class Between>
larger_than_memory::checksum sum_in_order(std::span<const std::byte> all, const Between& between) {
  constexpr std::size_t step = std::size_t{1} << 20;
  const auto at_once = (all.size() / 256 / step + 1) * step;
  larger_than_memory::checksum sum;
  while (!all.empty()) {
    const auto part = all.first(std::min(all.size(), at_once));
    sum.add(part);
    between(part.size());
    all = all.subspan(part.size());
  }
  return sum;
}

// Throws std::runtime_error where a checksum is another one than the file's.
void compare(const uffd::paged_memory& memory, const uffd::memory_budget& budget,
             const settings& chosen, larger_than_memory::residency& resident) {
  std::atomic<std::uint64_t> bytes_done{0};
  std::atomic<std::uint64_t> words_done{0};
  const examples::live_line shown([&] {
    const auto done = memory.statistics();
    return fmt::format("{} in order, {} at random: {} resident, {} source reads, {} evicted",
                       format_size(bytes_done), words_done, format_size(budget.resident()),
                       done.source_reads, done.pages_evicted);
  });

  const larger_than_memory::plain_file file(chosen.path);
  memory.advise(uffd::access_pattern::sequential);
  const auto sum = sum_in_order(memory.bytes(), [&](std::size_t bytes) {
    bytes_done += bytes;
    resident.sample();
  });
  if (sum != file.sum()) throw std::runtime_error("read in order, the checksums differ");

  memory.advise(uffd::access_pattern::random);
  const auto words = memory.as<std::uint64_t>();
  if (words.empty()) return;
  const auto paged_word = [&](std::uint64_t index) {
    if (words_done++ % (chosen.random / 64 + 1) == 0) resident.sample();
    return words[index];
  };
  const auto plain_word = [&](std::uint64_t index) { return file.word(index); };
  if (sum_at_random(words.size(), chosen.random, paged_word) !=
      sum_at_random(words.size(), chosen.random, plain_word))
    throw std::runtime_error("read at random, the checksums differ");
}

void run(const settings& chosen) {
  uffd::file_source source(chosen.path);
  const auto size = source.size();
  const auto limit = chosen.budget != 0 ? chosen.budget : std::max(size / 8, least_budget);
  const uffd::pager_options options{.budget = uffd::memory_budget(limit), .statistics = true};
  const auto pager =
      chosen.in_thread ? uffd::pager(uffd::async_signal_safe, options) : uffd::pager(options);
  const auto memory = pager.map(std::move(source));

  larger_than_memory::residency resident(memory.bytes());
  compare(memory, options.budget, chosen, resident);
  const auto done = memory.statistics();
  fmt::print("read in order and {} words at random: {} faults served by {}, {} pages evicted\n",
             chosen.random, done.faults, chosen.in_thread ? "this thread" : "other threads",
             done.pages_evicted);
  if (resident.most() > limit)
    throw std::runtime_error(fmt::format("{} bytes were resident", resident.most()));
  fmt::print(
      "larger_than_memory: {} through {}, checksums equal, {} source reads, "
      "at most {} bytes resident\n",
      format_size(size), format_size(limit), done.source_reads, resident.most());
}

}  // namespace

int main(int argc, char** argv) {
  settings chosen;
  CLI::App arguments("Reads a file through a mapping larger than the memory it may fill.");
  arguments.add_option("FILE", chosen.path, "what to read; by default this program itself");
  examples::add_size(arguments, "--budget", chosen.budget, least_budget,
                     "bytes that may be resident; by default an eighth of the file");
  arguments.add_flag("--in-thread", chosen.in_thread,
                     "serve faults in the thread that raises them");
  arguments.add_option("--random", chosen.random, "words to read at random")->capture_default_str();
  CLI11_PARSE(arguments, argc, argv);

  if (const auto support = uffd::support::query(); !support.permitted()) {
    fmt::print(stderr, "larger_than_memory: {}\n", support.advice());
    return 77;
  }
  examples::end_on_access_error();
  try {
    run(chosen);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "larger_than_memory: {}: {}\n", chosen.path, error.what());
    return 1;
  }
}
