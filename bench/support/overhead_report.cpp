// SPDX-License-Identifier: MIT
#include "support/overhead_report.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstddef>
#include <fstream>
#include <system_error>

namespace uffd::bench {
namespace {

std::string in_words(const spread& ratio) {
  return fmt::format("{:.3f} ({:.2f}-{:.2f})", ratio.median, ratio.lower_quartile,
                     ratio.upper_quartile);
}

std::string_view verdict(const threshold& asked) {
  const double got = asked.measured.median;
  if (asked.is_upper_limit ? got <= asked.limit : got >= asked.limit) return "yes";
  // A price may hide in the noise; a gain has to show.
  const bool is_price = asked.is_upper_limit && asked.limit >= 1;
  const bool in_noise = is_price && got <= asked.noise.upper_quartile;
  return in_noise ? "within the noise" : "no";
}

}  // namespace

void print_table(const scenario& measured) {
  fmt::print("\n### {}\n\n", measured.title);
  fmt::print(
      "| handler | p50 us | p99 us | faults/s | CPU us/fault | p50 ratio | faults/s ratio |"
      " CPU ratio |\n|--|--:|--:|--:|--:|--:|--:|--:|\n");
  const candidate& baseline = measured.candidates.front();
  for (const candidate& each : measured.candidates) {
    const auto median = [&](double measurement::*value) { return results_of(each, value).median; };
    fmt::print("| {} | {:.2f} | {:.1f} | {:.0f} | {:.2f} |", each.name,
               median(&measurement::p50) / 1e3, median(&measurement::p99) / 1e3,
               median(&measurement::faults_per_second), median(&measurement::cpu_per_fault) / 1e3);
    for (const auto value :
         {&measurement::p50, &measurement::faults_per_second, &measurement::cpu_per_fault})
      fmt::print(" {} |", &each == &baseline ? "1" : in_words(ratios(each, baseline, value)));
    fmt::print("\n");
  }
}

void print_thresholds(const std::vector<threshold>& all) {
  fmt::print(
      "\n### What is asked for\n\n"
      "| ratio | median (quartiles) | raw against raw | asked | met |\n"
      "|--|--:|--:|--:|--|\n");
  for (const threshold& each : all)
    fmt::print("| {} | {} | {} | {} {} | {} |\n", each.what, in_words(each.measured),
               in_words(each.noise), each.is_upper_limit ? "<=" : ">=", each.limit, verdict(each));
}

void write_csv(const std::string& path, const std::vector<scenario>& all) {
  std::ofstream file(path);
  file << "scenario,turn,handler,p50_ns,p90_ns,p99_ns,max_ns,faults_per_second,cpu_ns_per_fault\n";
  for (const scenario& each : all)
    for (const candidate& of : each.candidates)
      for (std::size_t turn = 0; turn < of.results.size(); ++turn) {
        const measurement& got = of.results[turn];
        file << fmt::format("{},{},{},{:.0f},{:.0f},{:.0f},{:.0f},{:.1f},{:.1f}\n", each.name, turn,
                            of.name, got.p50, got.p90, got.p99, got.maximum, got.faults_per_second,
                            got.cpu_per_fault);
      }
  if (!file.flush()) throw std::system_error(errno, std::system_category(), path);
}

}  // namespace uffd::bench
