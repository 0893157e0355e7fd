// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdio>
#include <string>

namespace demand_paging {
namespace {

double microseconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

std::size_t bits_of(std::uint64_t value) { return static_cast<std::size_t>(std::bit_width(value)); }

// One bar for each power of two of nanoseconds; all that took less than a microsecond in one.
void print_histogram(const uffd::latency_histogram& latency) {
  constexpr std::size_t width = 50;
  constexpr std::size_t fewest_bits = 10;
  std::array<std::uint64_t, 65> counts{};  // by the number of bits
  for (std::size_t i = 0; i < uffd::latency_histogram::bucket_count; ++i)
    counts[std::max(fewest_bits, bits_of(uffd::latency_histogram::upper_bound(i)))] +=
        latency.count(i);
  const auto is_used = [](std::uint64_t count) { return count != 0; };
  const auto* const first = std::find_if(counts.begin(), counts.end(), is_used);
  const auto* const last = std::find_if(counts.rbegin(), counts.rend(), is_used).base();
  const auto most = *std::max_element(counts.begin(), counts.end());
  for (const auto* count = first; count < last; ++count) {
    const auto limit = std::chrono::nanoseconds(std::int64_t{1} << (count - counts.begin()));
    fmt::print("  < {:>9.1f} us {:>9} {}\n", microseconds(limit), *count,
               std::string((*count * width + most - 1) / most, '#'));
  }
}

}  // namespace

progress::progress(const std::atomic<std::size_t>& done, std::size_t total) {
  if (::isatty(STDERR_FILENO) == 0) return;
  thread_ = std::jthread([this, &done, total](const std::stop_token& stop) {
    std::unique_lock guard(lock_);
    while (!ended_.wait_for(guard, stop, std::chrono::milliseconds(100),
                            [&] { return stop.stop_requested(); }))
      fmt::print(stderr, "\r{} of {} pages", done.load(), total);
    fmt::print(stderr, "\r{:40}\r", "");
  });
}

void print_table(const totals& sum, const touch_result& touched) {
  const double seconds = std::chrono::duration<double>(touched.elapsed).count();
  const auto& latency = touched.latency;
  fmt::print("pages touched      {} of {}\n", sum.pages, sum.of_pages);
  fmt::print("faults served      {}\n", sum.faults);
  fmt::print("bytes read         {}\n", sum.bytes);
  fmt::print("faults per second  {:.0f}\n", static_cast<double>(sum.faults) / seconds);
  fmt::print("touch latency      p50 {:.2f} us, p99 {:.2f} us, max {:.2f} us\n",
             microseconds(latency.percentile(0.5)), microseconds(latency.percentile(0.99)),
             microseconds(latency.maximum()));
  print_histogram(latency);
}

}  // namespace demand_paging
