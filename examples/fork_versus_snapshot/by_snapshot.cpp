// SPDX-License-Identifier: MIT
#include "by_snapshot.hpp"

#include <uffd/mapping.hpp>
#include <uffd/page_range.hpp>
#include <uffd/tracking/snapshot.hpp>
#include <uffd/tracking/snapshot_chain.hpp>

#include <array>
#include <cstddef>
#include <mutex>
#include <random>
#include <span>
#include <stdexcept>

namespace fork_versus_snapshot {
namespace {

void write_at_random(std::span<std::byte> memory, double share) {
  // The same in every run: NOLINTNEXTLINE(cert-msc*)
  std::minstd_rand random;
  std::bernoulli_distribution chosen(share);
  for (std::size_t offset = 0; offset < memory.size(); offset += uffd::page_size()) {
    if (!chosen(random)) continue;
    volatile auto& byte = memory[offset];
    byte = byte;
  }
}

void finish(const uffd::running_snapshot& running, const stopwatch& watch, measurement& result) {
  const auto report = running.wait();
  watch.read(result);
  result.pause = milliseconds(report.pause);
  result.extra = static_cast<double>(report.peak_extra_memory);
}

two_snapshots save(const std::filesystem::path& folder, const uffd::mapping& memory,
                   uffd::snapshotter& snapshots, examples::table_writers& writers, double share) {
  two_snapshots result;
  result.first.before = result.second.before = usual_rate(writers);
  {
    const stopwatch watch(writers);
    finish(snapshots.take(folder / "first", writers.gate()), watch, result.first);
  }
  // The writers have written everywhere meanwhile. From here until the next moment nothing is
  // written but what is to be.
  std::unique_lock still(writers.gate());
  static_cast<void>(snapshots
                        .take(
                            folder / "between", [] {}, [] {})
                        .wait());
  write_at_random(memory.bytes(), share);
  const stopwatch watch(writers);
  finish(snapshots.take(
             folder / "second", [] {}, [&] { still.unlock(); }),
         watch, result.second);
  return result;
}

void check(const std::filesystem::path& path, const examples::pair_table_shape& shape) {
  const auto chain = uffd::snapshot_chain::open(path);
  const auto memory = uffd::mapping::anonymous(chain.areas()[0].range.size());
  chain.restore(memory.bytes());
  examples::pair_table::check(memory.bytes(), shape);
}

}  // namespace

two_snapshots save_by_snapshot(const std::filesystem::path& folder,
                               const examples::pair_table_shape& shape, bool huge_pages,
                               double share) {
  two_snapshots result;
  {
    const auto memory = examples::memory_for(shape, huge_pages);
    examples::pair_table table(memory.bytes(), shape);
    table.fill();
    const std::array areas{uffd::snapshot_area{memory.range(), memory.page_size()}};
    uffd::snapshotter snapshots(areas);
    examples::table_writers writers(table, 0);
    result = save(folder, memory, snapshots, writers, share);
  }
  for (const auto* const name : {"first", "second"}) check(folder / name, shape);
  for (const auto* const name : {"first", "between", "second"})
    std::filesystem::remove(folder / name);
  return result;
}

}  // namespace fork_versus_snapshot
