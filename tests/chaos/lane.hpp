// SPDX-License-Identifier: MIT
// One life after the other, on memory of one kind.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "life.hpp"
#include "progress.hpp"
#include "support/memory.hpp"

namespace uffd::chaos {

struct lane_options {
  std::uint64_t seed = 0;
  std::size_t number = 0;
  test::memory_kind memory = test::memory_kind::anonymous;
};

// Runs lives until `is_over`, from life `first` on; answers how many it has lived in all. Ends the
// program if something is wrong.
std::uint64_t run_lane(const lane_options& options, std::uint64_t first, progress& where,
                       experience& learnt, const std::atomic<bool>& is_over);

}  // namespace uffd::chaos
