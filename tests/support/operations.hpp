// SPDX-License-Identifier: MIT
// All that a handle can do to a range, for tests of handles that may not do anything.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "uffd/error.hpp"
#include "uffd/handle.hpp"
#include "uffd/page_range.hpp"

namespace uffd::test {

// The name and the outcome of each. `range` has at least two pages: one is moved to the other.
inline std::vector<std::pair<std::string_view, outcome>> every_operation(const handle& on,
                                                                         page_range range) {
  const auto half = range.size() / 2;
  const page_range second(range.begin() + half, half);
  return {
      {"copy", on.copy(range.begin(), filled(range.size(), 1))},
      {"zeropage", on.zeropage(range)},
      {"move", on.move(range.begin(), second)},
      {"continue", on.continue_(range)},
      {"poison", on.poison(range)},
      {"write_protect", on.write_protect(range)},
      {"write_unprotect", on.write_unprotect(range)},
      {"read_write_protect", on.read_write_protect(range)},
      {"read_write_unprotect", on.read_write_unprotect(range)},
      {"set_mode", on.set_mode(feature::rwp_async, {})},
      {"wake", on.wake(range)},
      {"unregister", on.unregister(range)},
  };
}

}  // namespace uffd::test
