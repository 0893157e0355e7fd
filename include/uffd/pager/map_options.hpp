// SPDX-License-Identifier: MIT
/// \file
/// How a pager maps a source.
#pragma once

#include <chrono>
#include <cstddef>

namespace uffd {

/// What becomes of writes to paged memory.
enum class write_policy {
  none,        ///< the memory can't be written: SIGSEGV; under a budget, where whole windows are
               ///< moved to their place, a write may go through in the instant after that
  keep,        ///< they stay in memory until it is unmapped, and never reach the source
  write_back,  ///< they reach the source: when pages are evicted, with flush(), and at the end
};

/// How memory is expected to be used.
enum class access_pattern {
  automatic,   ///< what follows pages that are touched in ascending order, in four places at most,
               ///< is read ahead, other pages singly
  sequential,  ///< as much as possible is read at once
  random,      ///< only what was touched is read
};

/// Where pages are kept.
enum class page_backing {
  anonymous,  ///< private memory of this process
  shared,     ///< a memfd that other processes may map, too (paged_memory::share()); it can't be
              ///< written. Needs feature::minor_shmem (Linux 5.14). A page is loaded once,
              ///< whoever touches it, and counts once. The kernel may swap even pinned pages out
              ///< (mlock(2) keeps it from that); they come back by a fault
  huge,       ///< private memory of huge pages (hugetlb), of which the machine should have as many
              ///< free as the budget holds (vm.nr_hugepages): map() reserves none. Where none is
              ///< left, one of a mapping under the same budget leaves; without such a one the page
              ///< is tried again until the deadline, then it has failed: ENOMEM. Needs
              ///< feature::missing_hugetlbfs (Linux 4.11) and MADV_DONTNEED of huge pages (5.18),
              ///< to be written feature::wp_hugetlbfs_shmem (5.19). A page is read whole
};

/// How a source is mapped.
struct map_options {
  /// Whether the memory may be written, and what becomes of it.
  write_policy writes = write_policy::none;
  /// Where its pages are kept.
  page_backing backing = page_backing::anonymous;
  /// Bytes in a page of page_backing::huge; 0: the system's default. How large they may be says
  /// pager::map().
  std::size_t huge_page = 0;
  /// Bytes that are read at least, at a multiple of as many; rounded up to a power of two of whole
  /// pages, 2 MiB at most. 0: what the source advises, else one page.
  std::size_t unit = 0;
  /// How it will be used; paged_memory::advise() changes it.
  access_pattern expected = access_pattern::automatic;
  /// How long a page is tried again whose source has an error that may pass (uffd::is_transient())
  /// or for which the budget has no room, and how long a read of the source may last, before the
  /// page counts as failed: whoever touches it then, or waits for it, gets SIGBUS, as long as it is
  /// mapped. Where only prefetch() or pin() wanted it, it has not failed: they tell the error, and
  /// it may be asked for again. A source that hangs keeps the thread that called it for as long.
  std::chrono::milliseconds deadline{5000};
};

}  // namespace uffd
