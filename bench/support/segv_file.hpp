// SPDX-License-Identifier: MIT
// A file paged by SIGSEGV and mprotect.
#pragma once

#include <memory>

#include "support/paged_file.hpp"

namespace uffd::bench {

std::unique_ptr<paged_file> page_by_segv(const numbered_file& file, const paging_plan& plan);

}  // namespace uffd::bench
