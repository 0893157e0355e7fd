// SPDX-License-Identifier: MIT
// The hand-off's message as bytes (see handoff.hpp). Pure: no descriptor is touched, and nothing is
// allocated but for regions that are there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "uffd/flags.hpp"
#include "uffd/region_info.hpp"

namespace uffd::detail {

inline constexpr std::size_t handoff_header_size = 40;
inline constexpr std::size_t handoff_region_size = 64;

struct handoff_header {
  std::uint32_t regions = 0;
  std::uint32_t children = 0;
  bool kernel_faults = false;
  flags<feature> features = {};
};

// Why a message is refused; none if it isn't. `what` lives for ever.
struct handoff_problem {
  int number = 0;
  const char* what = nullptr;

  explicit operator bool() const noexcept { return number != 0; }
};

constexpr std::size_t handoff_size(std::size_t regions) noexcept {
  return handoff_header_size + regions * handoff_region_size;
}

// EINVAL for what no kernel would have registered.
handoff_problem problem_of(const region_info& region) noexcept;
// The same for any of them, and where two overlap.
handoff_problem problem_of(std::span<const region_info> regions);

// `header.regions` is set to the number of `regions`, of which there are less than 2^26.
std::vector<std::byte> encode_handoff(handoff_header header, std::span<const region_info> regions);

handoff_problem decode_handoff_header(std::span<const std::byte, handoff_header_size> bytes,
                                      handoff_header& header) noexcept;
// Whole entries; what they hold is added to `regions`.
handoff_problem decode_handoff_regions(std::span<const std::byte> bytes,
                                       std::vector<region_info>& regions);

}  // namespace uffd::detail
