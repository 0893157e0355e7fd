// SPDX-License-Identifier: MIT
// Memory whose pages fault, and fault again after each round.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"

namespace uffd::bench {

// How a fault is resolved.
enum class technique { copy, zeropage, move, continue_, write_unprotect };
inline constexpr std::array all_techniques{technique::copy, technique::zeropage, technique::move,
                                           technique::continue_, technique::write_unprotect};
std::string_view name_of(technique how);

struct workload {
  technique how = technique::copy;
  std::size_t bytes = std::size_t{8} << 20;
  std::size_t pages_per_resolution = 1;
  std::size_t page_size = uffd::page_size();
};

// The pages are touched by one access to each block: as many pages as one resolution installs.
class faulting_memory {
 public:
  // Throws std::system_error where there is no such memory.
  explicit faulting_memory(const workload& work);

  technique how() const noexcept { return work_.how; }
  flags<feature> features() const noexcept;
  flags<register_mode> modes() const noexcept;
  page_range range() const noexcept { return memory_.range(); }
  std::size_t page_size() const noexcept { return work_.page_size; }
  // Bytes that one resolution installs.
  std::size_t block() const noexcept { return work_.page_size * work_.pages_per_resolution; }
  std::size_t block_count() const noexcept { return memory_.bytes().size() / block(); }
  // What is copied (one block) or moved from (as large as the memory); else empty.
  std::span<std::byte> source() const noexcept;

  // Makes every page fault again. Nobody may touch the memory meanwhile.
  void prepare(const handle& on) const;
  // The access that faults.
  void touch_block(std::size_t number) const noexcept;

 private:
  workload work_;
  mapping memory_;
  std::optional<mapping> source_;
};

}  // namespace uffd::bench
