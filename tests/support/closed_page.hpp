// SPDX-License-Identifier: MIT
// What fails closed, as it is seen.
#pragma once

#include <optional>

#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/flags.hpp"

namespace uffd::test {

// What an access to a page shows that could not be served: it is poisoned, or where the kernel
// can't do that, inaccessible.
inline sight closed_page() {
  return kernel_has(feature::poison).empty() ? takes_sigbus : takes_sigsegv;
}

// What it shows of a page that was there when its range was closed: the same as before, but where
// the whole range had to be made inaccessible.
inline sight still_shows(int byte) {
  return kernel_has(feature::poison).empty() ? shows(byte) : takes_sigsegv;
}

// Whether somebody for whom a page was installed saw this byte; or, where the whole range had to be
// made inaccessible at its end, came too late.
inline bool was_shown(std::optional<sight> seen, int byte) {
  return seen == shows(byte) || seen == still_shows(byte);
}

}  // namespace uffd::test
