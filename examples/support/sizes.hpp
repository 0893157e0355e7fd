// SPDX-License-Identifier: MIT
// Sizes as people write and read them.
#pragma once

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

namespace examples {

// An option that takes K, M and G, of 1024 each, and at least `least` bytes.
inline CLI::Option* add_size(CLI::App& arguments, const std::string& name, std::uint64_t& bytes,
                             std::uint64_t least, const std::string& description) {
  return arguments.add_option(name, bytes, description)
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(least, std::uint64_t{std::numeric_limits<std::int64_t>::max()}));
}

// 512 bytes, 64.0 MiB, 1.50 GiB
inline std::string format_size(std::uint64_t bytes) {
  constexpr std::array units{"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < units.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : 1, units.at(unit));
}

}  // namespace examples
