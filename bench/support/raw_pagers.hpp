// SPDX-License-Identifier: MIT
// The hand-written userfaultfd pagers.
#pragma once

#include <memory>

#include "support/paged_file.hpp"

namespace uffd::bench {

// What becomes of a page that is missed by a write.
enum class write_fill {
  protected_,  // it faults once more
  open,        // it is written at once
};

// Windows of 2 MiB where the plan is sequential, else pages.
std::unique_ptr<paged_file> page_by_raw_thread(const numbered_file& file, const paging_plan& plan,
                                               write_fill fill = write_fill::open);
// Always pages.
std::unique_ptr<paged_file> page_in_thread_by_raw(const numbered_file& file,
                                                  const paging_plan& plan,
                                                  write_fill fill = write_fill::open);

}  // namespace uffd::bench
