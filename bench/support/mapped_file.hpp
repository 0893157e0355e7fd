// SPDX-License-Identifier: MIT
// A file mapped by the kernel.
#pragma once

#include <memory>

#include "support/paged_file.hpp"

namespace uffd::bench {

// The kernel has no budget for one mapping: it is emulated where pages are accessed, by a queue of
// chunks of 64 KiB of which the oldest is dropped. What is dropped stays in the page cache, and the
// kernel maps whole large folios, so more may be resident than the budget says: a bound for the
// others, not their equal.
std::unique_ptr<paged_file> map_by_kernel(const numbered_file& file, const paging_plan& plan);

}  // namespace uffd::bench
