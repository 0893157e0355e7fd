// SPDX-License-Identifier: MIT
// Snapshotters of paged memory: here, where both are known.
#include <cerrno>
#include <span>
#include <string>
#include <vector>

#include "pager/mapped_source.hpp"
#include "tracking/paged_area.hpp"
#include "uffd/error.hpp"
#include "uffd/pager/map_options.hpp"
#include "uffd/pager/paged_memory.hpp"
#include "uffd/tracking/snapshot.hpp"

namespace uffd {
namespace {

void check(const detail::mapped_source& mapped) {
  const auto refuse = [&](const char* why) {
    detail::throw_errno(EINVAL, "snapshotter " + to_string(mapped.pages) + ": " + why);
  };
  if (mapped.by->in_thread)
    refuse(
        "its pager serves faults in the threads that raise them, which a snapshot may have to keep "
        "waiting; give it a pager with threads");
  if (mapped.region.is_shared())
    refuse("page_backing::shared can't be written, so that it is always as in its source");
  if (mapped.region.writes() == write_policy::none)
    refuse(
        "mapped with write_policy::none it is always as in its source; write_policy::keep is "
        "saved");
  if (mapped.region.writes() == write_policy::write_back)
    refuse(
        "mapped with write_policy::write_back its source changes with it; write_policy::keep is "
        "saved");
}

std::vector<detail::paged_area*> areas_of(std::span<const paged_memory* const> memory) {
  std::vector<detail::paged_area*> areas;
  for (const auto* each : memory) {
    auto& mapped = detail::paged_memory_access::mapped(*each);
    if (mapped.home.in_child())
      detail::throw_errno(EOWNERDEAD, "snapshotter of paged memory in a forked child");
    check(mapped);
    areas.push_back(&mapped.region);
  }
  return areas;
}

}  // namespace

snapshotter::snapshotter(const paged_memory& memory, const snapshot_options& options)
    : snapshotter(std::vector<const paged_memory*>{&memory}, options) {}
snapshotter::snapshotter(std::span<const paged_memory* const> memory,
                         const snapshot_options& options)
    : snapshotter(std::span<detail::paged_area* const>(areas_of(memory)), options) {}

}  // namespace uffd
