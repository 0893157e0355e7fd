// SPDX-License-Identifier: MIT
// Whether memory that is only read takes none: some kernels have no page of zeroes for all.
#pragma once

#include <string>

#include "support/resident.hpp"
#include "support/sight.hpp"
#include "uffd/mapping.hpp"
#include "uffd/page_range.hpp"

namespace uffd::test {

// UFFDPP_REQUIRE(test::zero_page());
inline std::string zero_page() {
  static const bool takes_none = [] {
    const auto memory = mapping::anonymous(page_size());
    static_cast<void>(read_byte(memory.range().begin()));
    return resident_bytes(memory.range()) == 0;
  }();
  return takes_none ? "" : "memory that is read takes pages of its own on this kernel";
}

}  // namespace uffd::test
