// SPDX-License-Identifier: MIT
// The library's pagers, as their users make them.
#pragma once

#include <memory>

#include "support/paged_file.hpp"

namespace uffd::bench {

// Whether the pager is told how it will be used, or finds out.
enum class told { nothing, pattern };

std::unique_ptr<paged_file> page_by_threads(const numbered_file& file, const paging_plan& plan,
                                            told about);
// The same in huge pages, of which there must be enough.
std::unique_ptr<paged_file> page_by_threads_to_huge_pages(const numbered_file& file,
                                                          const paging_plan& plan, told about);
std::unique_ptr<paged_file> page_in_thread(const numbered_file& file, const paging_plan& plan,
                                           told about);
// The same where each read asks whether the file was changed, as no other candidate does.
std::unique_ptr<paged_file> page_in_thread_checked(const numbered_file& file,
                                                   const paging_plan& plan, told about);

}  // namespace uffd::bench
