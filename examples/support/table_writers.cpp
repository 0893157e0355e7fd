// SPDX-License-Identifier: MIT
#include "table_writers.hpp"

#include <algorithm>
#include <random>

namespace examples {

void write_gate::lock() {
  closed_ = true;
  for (auto& writer : within_) writer.lock();
}

void write_gate::unlock() {
  closed_ = false;
  for (auto& writer : within_) writer.unlock();
  closed_.notify_all();
}

std::unique_lock<std::mutex> write_gate::enter(unsigned writer) {
  // Else who locks the gate might wait for ever for a writer that is back again at once.
  closed_.wait(true);
  return std::unique_lock(within_[writer]);
}

table_writers::table_writers(const pair_table& table, double rate)
    : table_(table), rate_(rate), gate_(table.shape().writers), progress_(table.shape().writers) {
  for (unsigned writer = 0; writer < table.shape().writers; ++writer)
    threads_.emplace_back([this, writer](const std::stop_token& stop) { write(stop, writer); });
}

std::uint64_t table_writers::transfers() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& each : progress_) sum += each.transfers;
  return sum;
}

void table_writers::begin_window() noexcept {
  window_ = clock::now().time_since_epoch().count();
  for (auto& each : progress_) each.longest = 0;
}

std::chrono::nanoseconds table_writers::longest_stall() const noexcept {
  clock::duration longest{};
  for (const auto& each : progress_)
    longest = std::max(longest, clock::duration(each.longest.load()));
  return longest;
}

void table_writers::note(progress& by, clock::time_point begin,
                         clock::time_point end) const noexcept {
  const clock::time_point window{clock::duration(window_.load())};
  const auto lasted = (end - std::max(begin, window)).count();
  if (lasted > by.longest) by.longest = lasted;
  ++by.transfers;
}

void table_writers::write(const std::stop_token& stop, unsigned writer) {
  const auto& [pairs, writers] = table_.shape();
  // The same in every run: NOLINTNEXTLINE(cert-msc*)
  std::minstd_rand random(writer + 1);
  std::uniform_int_distribution<std::uint64_t> turn(0, pairs / writers - 1);
  std::uniform_int_distribution<std::int64_t> amount(-100, 100);
  const auto start = clock::now();
  for (std::uint64_t done = 1; !stop.stop_requested(); ++done) {
    const auto pair = turn(random) * writers + writer;
    const auto begin = clock::now();
    {
      const auto within = gate_.enter(writer);
      table_.transfer(writer, pair, amount(random));
    }
    const auto end = clock::now();
    note(progress_[writer], begin, end);
    if (rate_ == 0) continue;
    const auto due = start + std::chrono::duration_cast<clock::duration>(
                                 std::chrono::duration<double>(static_cast<double>(done) / rate_));
    if (due - end > std::chrono::milliseconds(1)) std::this_thread::sleep_until(due);
  }
}

}  // namespace examples
