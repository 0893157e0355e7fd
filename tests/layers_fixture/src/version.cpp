// SPDX-License-Identifier: MIT
// Wrong: a source for the header-only part.
#include <uffd/version.hpp>
