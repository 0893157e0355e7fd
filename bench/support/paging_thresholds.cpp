// SPDX-License-Identifier: MIT
#include "support/paging_thresholds.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "support/paging_candidates.hpp"

namespace uffd::bench {
namespace {

constexpr auto speed = &paging_measurement::accesses_per_second;
constexpr auto p99 = &paging_measurement::p99;
constexpr auto reads = &paging_measurement::source_reads;

struct demand {
  std::string_view workload;
  std::string_view what;
  double paging_measurement::*value;
  std::string_view over;
  std::string_view under;
  double limit;
  bool is_upper_limit = false;
};

constexpr demand demands[] = {
    {"W1", "accesses/s", speed, names::threaded, names::raw_threaded, 1.5},
    {"W1", "accesses/s", speed, names::in_thread, names::raw_threaded, 1.5},
    {"W1b", "accesses/s", speed, names::threaded, names::read_loop, 0.45},
    {"W1b", "accesses/s", speed, names::in_thread, names::read_loop, 0.45},
    {"W1b", "accesses/s", speed, names::threaded, names::raw_threaded, 3},
    {"W1b", "accesses/s", speed, names::in_thread, names::raw_threaded, 3},
    {"W2", "accesses/s", speed, names::in_thread, names::raw_in_thread, 0.9},
    {"W2", "p99", p99, names::in_thread, names::raw_in_thread, 1.25, true},
    {"W2x2", "accesses/s", speed, names::threaded, names::raw_threaded, 3},
    {"W3", "accesses/s", speed, names::in_thread, names::raw_in_thread, 1.1},
    {"W4", "accesses/s", speed, names::in_thread, names::raw_in_thread, 1.2},
    {"W4", "accesses/s", speed, names::in_thread, names::raw_protects, 1.2},
    {"W4b", "accesses/s", speed, names::in_thread, names::raw_in_thread, 1.2},
    {"W4b", "accesses/s", speed, names::in_thread, names::raw_protects, 1.2},
    {"W5", "source reads", reads, names::in_thread, names::raw_in_thread, 0.85, true},
    {"W5", "source reads", reads, names::threaded, names::raw_threaded, 0.85, true},
    {"W5", "accesses/s", speed, names::in_thread, names::raw_in_thread, 1},
    {"W5", "accesses/s", speed, names::threaded, names::raw_threaded, 1},
};

// The most that may be dropped at once.
constexpr double batch = 2 << 20;

void add_resident(std::vector<threshold>& asked, const paging_comparison& measured,
                  std::string_view name) {
  const auto* const of = find(measured, name);
  const auto budget = static_cast<double>(measured.work.plan.budget);
  if (of == nullptr || budget == 0) return;
  auto most = results_of(*of, &paging_measurement::resident);
  if (most.maximum == 0) return;  // it was not watched
  for (double* each : {&most.median, &most.lower_quartile, &most.upper_quartile}) *each /= budget;
  asked.push_back(
      {fmt::format("resident bytes of {} over the budget, {}", name, measured.work.name),
       most,
       {1, 1, 1, 1, 1},
       1 + batch / budget,
       true});
}

}  // namespace

std::vector<threshold> thresholds(const paging_comparison& measured) {
  std::vector<threshold> asked;
  const auto* const baseline = find(measured, measured.baseline);
  const auto* const again = find(measured, measured.baseline + std::string(names::again));
  for (const demand& each : demands) {
    if (each.workload != measured.work.name) continue;
    const auto* const over = find(measured, each.over);
    const auto* const under = find(measured, each.under);
    if (over == nullptr || under == nullptr) continue;
    const bool has_noise = baseline != nullptr && again != nullptr;
    asked.push_back(
        {fmt::format("{}: {} of {} over {}", each.workload, each.what, each.over, each.under),
         ratios(*over, *under, each.value),
         has_noise ? ratios(*again, *baseline, each.value) : spread{1, 1, 1, 1, 1}, each.limit,
         each.is_upper_limit});
  }
  add_resident(asked, measured, names::in_thread);
  add_resident(asked, measured, names::threaded);
  return asked;
}

void print_bounds(const std::vector<paging_comparison>& all) {
  fmt::print(
      "\n### Beside the kernel's own mapping\n\nIt copies nothing, and its budget is emulated: a"
      " bound, not asked for.\n\n| accesses/s over kernel mmap | in-thread | threaded |\n"
      "|--|--:|--:|\n");
  for (const auto& each : all) {
    const auto* const kernel = find(each, names::kernel);
    if (kernel == nullptr) continue;
    fmt::print("| {} |", each.work.name);
    for (const auto name : {names::in_thread, names::threaded}) {
      const auto* const of = find(each, name);
      fmt::print(" {} |",
                 of == nullptr ? "-" : fmt::format("{:.2f}", ratios(*of, *kernel, speed).median));
    }
    fmt::print("\n");
  }
}

}  // namespace uffd::bench
