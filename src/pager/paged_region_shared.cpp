// SPDX-License-Identifier: MIT
// Pages of shared memory: they are kept in its file, and mapped into each view that touches them.
// What the file has is what the state says: a page that is half written there is nobody's yet, and
// whoever touches it raises a fault.
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "pager/evictor.hpp"
#include "pager/paged_region.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {
namespace {

constexpr std::size_t shown_at_once = 16;  // pages: so many faults less

}  // namespace

// By system calls that are no cancellation points: here runs a signal handler, perhaps.
std::error_code paged_region::keep(page_run run, std::span<const std::byte> bytes) const noexcept {
  auto at = static_cast<off_t>(run.first * page_size_);
  while (!bytes.empty()) {
    const auto done =
        ::syscall(SYS_pwrite64, around_.file, bytes.data(), bytes.size(), static_cast<long>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) {
      const int number = done < 0 ? errno : ENOSPC;
      drop(run);
      return {number, std::system_category()};
    }
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    at += done;
  }
  return {};
}

bool paged_region::drop(page_run claimed) const noexcept {
  constexpr long how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  for (;;) {
    if (::syscall(SYS_fallocate, around_.file, how, static_cast<long>(claimed.first * page_size_),
                  static_cast<long>(claimed.count * page_size_)) == 0)
      return true;
    if (errno != EINTR) return false;
  }
}

// With the pages claimed and counted. From when they are clean they may leave again: then the fault
// comes again, too.
resolution paged_region::install_shared(fault& raised, std::size_t page, page_run run,
                                        std::span<const std::byte> bytes) noexcept {
  if (const auto error = keep(run, bytes)) {
    around_.budget->release(run.count * page_size_);
    shrink_to(page, run);
    return fail_or_retry(page, error);
  }
  become(run, paging_state::clean, page);
  count(counts_.pages_loaded, run.count);
  const auto begin = raised.page().begin() - (page - run.first) * page_size_;
  const auto answer = raised.continue_({begin, run.count * page_size_});
  return answer.error() == std::errc::bad_address ? resolution::retry() : answer;
}

// A clean page, and those after it. EFAULT where it is not in the file any more.
resolution paged_region::show(fault& raised, std::size_t page, table_block& block) noexcept {
  const auto first = page % page_table::pages_per_block;
  auto end = first + 1;
  const auto most =
      std::min({page_table::pages_per_block, first + shown_at_once, first + pages() - page});
  while (end < most && block[end].load().state() == paging_state::clean) ++end;
  const page_range all(raised.page().begin(), (end - first) * page_size_);
  const auto answer = raised.continue_(all);
  if (answer.error() == std::errc::bad_address && end != first + 1) return raised.continue_();
  return answer;
}

// Here, where who has pinned them reads them.
std::error_code paged_region::show_pinned(page_run pinned) const noexcept {
  for (;;) {
    const auto answer = resolve::continue_(*around_.on, range_of(pinned), {}, page_size_);
    if (answer.is_resolved() || answer.error()) return answer.error();
    const timespec moment{0, 50'000};
    ::nanosleep(&moment, nullptr);
  }
}

}  // namespace uffd::detail
