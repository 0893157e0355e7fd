// SPDX-License-Identifier: MIT
#include "measurement.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <thread>

#include "support/sizes.hpp"

namespace fork_versus_snapshot {
namespace {

std::string time_text(double value) { return fmt::format("{:.2f} ms", value); }
std::string size_text(double value) {
  return examples::format_size(static_cast<std::uint64_t>(value));
}
std::string rate_text(double value) { return fmt::format("{:.0f} k/s", value / 1000); }

}  // namespace

const std::array<metric, 6>& metrics() {
  static constexpr std::array<metric, 6> all{{{"pause", &measurement::pause, time_text},
                                              {"longest stall", &measurement::stall, time_text},
                                              {"extra memory", &measurement::extra, size_text},
                                              {"writes before", &measurement::before, rate_text},
                                              {"writes during", &measurement::during, rate_text},
                                              {"total", &measurement::total, time_text}}};
  return all;
}

measurement median_of(const std::vector<measurement>& all) {
  measurement result;
  for (const auto& each : metrics()) {
    std::vector<double> values;
    values.reserve(all.size());
    for (const auto& one : all) values.push_back(one.*each.value);
    std::sort(values.begin(), values.end());
    const auto half = values.size() / 2;
    result.*each.value =
        values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
  }
  return result;
}

double milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

stopwatch::stopwatch(examples::table_writers& writers)
    : begin_(std::chrono::steady_clock::now()), writers_(writers), transfers_(writers.transfers()) {
  writers.begin_window();
}

double stopwatch::rate() const {
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin_;
  return static_cast<double>(writers_.transfers() - transfers_) / passed.count();
}

void stopwatch::read(measurement& to) const {
  to.total = milliseconds(std::chrono::steady_clock::now() - begin_);
  to.during = rate();
  to.stall = milliseconds(writers_.longest_stall());
}

double usual_rate(examples::table_writers& writers) {
  const stopwatch watch(writers);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  return watch.rate();
}

}  // namespace fork_versus_snapshot
