// SPDX-License-Identifier: MIT
// The text of a working set, which somebody else may have written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "uffd/pager/working_set.hpp"

namespace uffd::detail {

inline constexpr std::size_t most_working_set_text = std::size_t{64} << 20;
inline constexpr std::size_t shortest_run_text = std::string_view("0 1\n").size();

// What it says, as a working_set has it.
struct working_set_content {
  std::string source;
  std::uint64_t source_size = 0;
  std::uint64_t page_size = 0;
  std::vector<working_set::run> runs;
};

// Whether it is what a working_set may have.
bool is_well_formed(const working_set_content& content) noexcept;

// Throws std::bad_alloc alone, of no more than a few times the text. What is accepted is well
// formed, and the same text when it is written again.
std::error_code parse_working_set(std::string_view text, working_set_content& content);
// Of what is well formed.
std::string write_working_set(const working_set& set);

// FNV-1a of 64 bits.
std::uint64_t checksum_of(std::string_view text) noexcept;
// `text`, with the line of its checksum.
std::string with_checksum(std::string text);

}  // namespace uffd::detail
