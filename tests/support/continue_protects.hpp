// SPDX-License-Identifier: MIT
// Whether UFFDIO_CONTINUE can protect what it maps, which no feature tells: from Linux 6.4 on.
#pragma once

#include <string>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/open_options.hpp"

namespace uffd::test {

// UFFDPP_REQUIRE(test::continue_protects());
inline std::string continue_protects() {
  static const bool does = [] {
    const auto modes = register_mode::minor | register_mode::write_protect;
    const auto needed = features_of(memory_kind::shared, modes);
    if (!kernel_has(needed).empty()) return false;
    const auto on = handle::open({.required = needed});
    const memory one(memory_kind::shared, 1);
    write_byte(one.begin(), 7);
    const auto view = one.mapping().alias();
    on.register_range(view.range(), modes);
    return static_cast<bool>(on.continue_(view.range(), fill_mode::write_protect));
  }();
  return does ? "" : "this kernel's UFFDIO_CONTINUE can't write-protect";
}

}  // namespace uffd::test
