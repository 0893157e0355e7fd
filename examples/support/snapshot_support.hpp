// SPDX-License-Identifier: MIT
// Whether snapshots can be taken here.
#pragma once

#include <uffd/support.hpp>

#include <string>

namespace examples {

// Why not, and what to change; empty if they can.
inline std::string what_snapshots_lack() {
  const auto support = uffd::support::query();
  if (!support.permitted() || !support.kernel_faults()) return support.advice();
  if (!support.features().has(uffd::feature::pagefault_flag_wp))
    return "This kernel can't protect pages from being written (Linux 5.7).";
  return {};
}

}  // namespace examples
