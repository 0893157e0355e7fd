// SPDX-License-Identifier: MIT
#include "support/paging_report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <system_error>

namespace uffd::bench {
namespace {

constexpr double mebibyte = 1 << 20;

std::string in_words(const spread& of, int digits) {
  return fmt::format("{:.{}f} ({:.{}f}-{:.{}f})", of.median, digits, of.lower_quartile, digits,
                     of.upper_quartile, digits);
}

void print_row(const paging_candidate& of, const paging_candidate* baseline) {
  const auto speed = &paging_measurement::accesses_per_second;
  const auto median = [&](double paging_measurement::*value) {
    return results_of(of, value).median;
  };
  fmt::print("| {} | {} | {} |", of.name, in_words(results_of(of, speed), 0),
             baseline == nullptr ? "-" : in_words(ratios(of, *baseline, speed), 2));
  fmt::print(" {:.1f} | {:.1f} | {:.0f} | {:.0f} | {:.0f} |",
             median(&paging_measurement::p50) / 1e3, median(&paging_measurement::p99) / 1e3,
             median(&paging_measurement::faults), median(&paging_measurement::source_reads),
             median(&paging_measurement::source_writes));
  const double resident = median(&paging_measurement::resident) / mebibyte;
  fmt::print(" {:.2f} | {} | {:.0f} |\n", median(&paging_measurement::cpu_per_access) / 1e3,
             resident == 0 ? "-" : fmt::format("{:.1f}", resident),
             median(&paging_measurement::end) / 1e6);
}

}  // namespace

const paging_candidate* find(const paging_comparison& in, std::string_view name) {
  const auto found = std::find_if(in.candidates.begin(), in.candidates.end(),
                                  [&](const paging_candidate& each) { return each.name == name; });
  return found == in.candidates.end() ? nullptr : &*found;
}

void print_table(const paging_comparison& measured) {
  const auto& work = measured.work;
  fmt::print("\n### {}: {}\n\n{} accesses to a file of {:.0f} MiB", work.name, work.title,
             work.accesses.size(), static_cast<double>(work.file_bytes) / mebibyte);
  if (work.plan.budget != 0)
    fmt::print(", {:.0f} MiB of it resident", static_cast<double>(work.plan.budget) / mebibyte);
  fmt::print(
      ".\n\n| | accesses/s (quartiles) | to {} | p50 us | p99 us | faults | reads | writes |"
      " CPU us/access | resident MiB | end ms |\n"
      "|--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
      measured.baseline);
  const auto* const baseline = find(measured, measured.baseline);
  for (const auto& each : measured.candidates) print_row(each, baseline);
}

void write_csv(const std::string& path, const std::vector<paging_comparison>& all) {
  std::ofstream file(path);
  file << "workload,turn,candidate,accesses_per_second,p50_ns,p99_ns,faults,source_reads,"
          "source_writes,cpu_ns_per_access,resident_bytes,end_ns\n";
  for (const auto& each : all)
    for (const auto& of : each.candidates)
      for (std::size_t turn = 0; turn < of.results.size(); ++turn) {
        const paging_measurement& got = of.results[turn];
        file << fmt::format(
            "{},{},{},{:.1f},{:.0f},{:.0f},{:.0f},{:.0f},{:.0f},{:.1f},{:.0f},"
            "{:.0f}\n",
            each.work.name, turn, of.name, got.accesses_per_second, got.p50, got.p99, got.faults,
            got.source_reads, got.source_writes, got.cpu_per_access, got.resident, got.end);
      }
  if (!file.flush()) throw std::system_error(errno, std::system_category(), path);
}

}  // namespace uffd::bench
