// SPDX-License-Identifier: MIT
#include "support/paging_run.hpp"

#include <fmt/core.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "support/free_memory.hpp"
#include "support/page_accesses.hpp"
#include "support/resident.hpp"
#include "support/samples.hpp"

namespace uffd::bench {
namespace {

constexpr std::size_t not_the_pages = std::size_t{64} << 20;  // buffers, tables

nanoseconds now(clockid_t clock) noexcept {
  timespec time{};
  ::clock_gettime(clock, &time);
  return nanoseconds{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Those that the kernel resolved.
std::uint64_t minor_faults() noexcept {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return static_cast<std::uint64_t>(used.ru_minflt);
}

struct counted {
  explicit counted(const paged_file& file)
      : by(file.counters()), minor(minor_faults()), cpu(now(CLOCK_PROCESS_CPUTIME_ID)) {}

  paging_counters by;
  std::uint64_t minor;
  nanoseconds cpu;
};

paging_measurement between(const counted& before, const counted& after, const paged_file& file,
                           std::size_t accesses) {
  const auto since = [](auto then, auto later) { return static_cast<double>(later - then); };
  paging_measurement result;
  result.faults = file.counts_faults() ? since(before.by.faults, after.by.faults)
                                       : since(before.minor, after.minor);
  result.source_reads = since(before.by.source_reads, after.by.source_reads);
  result.source_writes = since(before.by.source_writes, after.by.source_writes);
  result.cpu_per_access = since(before.cpu, after.cpu) / static_cast<double>(accesses);
  return result;
}

void note_times(paging_measurement& result, access_result& done) {
  auto& all = done.latencies;
  result.accesses_per_second =
      static_cast<double>(all.size()) * 1e9 / static_cast<double>(done.end - done.begin);
  const auto faults = static_cast<std::size_t>(result.faults);
  std::sort(all.begin(), all.end(), std::greater<>());
  all.resize(std::clamp<std::size_t>(faults, 1, all.size()));
  const samples slowest(std::move(all));
  result.p50 = static_cast<double>(slowest.percentile(0.5));
  result.p99 = static_cast<double>(slowest.percentile(0.99));
}

void require(bool is_right, const paging_workload& work, const std::string& what) {
  if (!is_right) throw std::runtime_error(fmt::format("{}: {}", work.name, what));
}

void check_read(const paging_workload& work, const access_result& done, std::uint64_t words) {
  require(done.wrong == 0, work, fmt::format("{} pages were not those of the file", done.wrong));
  if (work.reads_all) require(done.words == words, work, "the sum of all words is wrong");
}

void check_written(const paging_workload& work, const numbered_file& file, const file_sums& before,
                   std::uint64_t writes) {
  const file_sums after = file.sums();
  require(after.counters - before.counters == writes, work,
          fmt::format("{} writes were made, the file has {}", writes,
                      after.counters - before.counters));
  require(after.words - before.words == writes, work, "other words of the file have changed");
}

}  // namespace

paging_measurement run_workload(const paging_workload& work, const numbered_file& file,
                                const paged_file_maker& make, watching what) {
  const bool is_summed = work.plan.writable || work.reads_all;
  const file_sums before = is_summed ? file.sums() : file_sums();
  file.settle();
  bring_free_memory((work.plan.budget != 0 ? work.plan.budget : work.file_bytes) + not_the_pages);
  auto paged = make(file, work.plan);
  std::optional<resident_watch> watch;
  if (what == watching::resident_bytes && paged->memory() != nullptr)
    watch.emplace(paged->memory(), file.size());
  const auto filling = access_pages(*paged, work.fill, {false, work.fill_writes}, 1);

  const counted at_begin(*paged);
  auto done = access_pages(*paged, work.accesses, {work.reads_all, work.writes_half}, work.threads);
  auto result = between(at_begin, counted(*paged), *paged, work.accesses.size());
  if (watch) result.resident = static_cast<double>(watch->stop());
  note_times(result, done);

  const nanoseconds end_begins = now(CLOCK_MONOTONIC);
  paged.reset();
  result.end = static_cast<double>(now(CLOCK_MONOTONIC) - end_begins);
  check_read(work, filling, 0);
  check_read(work, done, before.words);
  if (work.plan.writable) check_written(work, file, before, filling.writes + done.writes);
  return result;
}

}  // namespace uffd::bench
