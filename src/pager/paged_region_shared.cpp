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
      const int number = done < 0 && errno != ENOSPC ? errno : ENOMEM;
      drop(run);
      return {number, std::system_category()};
    }
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    at += done;
  }
  return {};
}

// Also what was swapped out. The file's position is nobody's.
bool paged_region::is_kept(std::size_t page) const noexcept {
  const auto at = static_cast<long>(page * page_size_);
  return ::syscall(SYS_lseek, around_.file, at, SEEK_DATA) == at;
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

// Of a page that is kept. Where it could not be mapped all the same, whoever touched it has other
// memory there than this, or the kernel lacks some for a moment.
resolution paged_region::shown(std::size_t page, resolution answer) noexcept {
  if (answer.is_resolved()) overdue_.forget(page);
  if (!answer.error() || !is_transient(answer.error()) || overdue_.is_overdue(page)) return answer;
  return resolution::retry();
}

// With the pages claimed and counted. They are clean, and may leave again, only when they are
// mapped: a hole is zeroes as soon as somebody touches it whose memory is not served.
resolution paged_region::install_shared(fault& raised, std::size_t page, page_run run,
                                        std::span<const std::byte> bytes) noexcept {
  if (const auto error = keep(run, bytes)) {
    around_.budget->release(run.count * page_size_);
    shrink_to(page, run);
    return fail_or_retry(page, error);
  }
  const auto begin = raised.page().begin() - (page - run.first) * page_size_;
  const auto answer = raised.continue_({begin, run.count * page_size_});
  become(run, paging_state::clean, page);
  count(counts_.pages_loaded, run.count);
  return shown(page, answer);
}

// A clean page and those after it, claimed.
page_run paged_region::hold(std::size_t page, table_block& block) const noexcept {
  const auto first = page % page_table::pages_per_block;
  const auto most =
      std::min({page_table::pages_per_block, first + shown_at_once, first + pages() - page});
  auto end = first;
  while (end < most && block[end].change(paging_state::clean, paging_state::opening)) ++end;
  return {page, end - first};
}

resolution paged_region::show(fault& raised, std::size_t page, table_block& block) noexcept {
  const auto held = hold(page, block);
  if (held.count == 0) return resolution::retry();
  auto answer = raised.continue_({raised.page().begin(), held.count * page_size_});
  if (answer.error() == std::errc::bad_address && held.count > 1) answer = raised.continue_();
  const bool is_gone = answer.error() == std::errc::bad_address && !is_kept(page);
  if (!is_gone) {
    set(held, paging_state::opening, paging_state::clean);
    return shown(page, answer);
  }
  // Somebody has dropped it.
  set({page + 1, held.count - 1}, paging_state::opening, paging_state::clean);
  set({page, 1}, paging_state::opening, paging_state::loading);
  forget({page, 1});
  return load(raised, page, load_for::reading);
}

// Here, where who has pinned them reads them.
std::error_code paged_region::show_pinned(page_run pinned) const noexcept {
  while (pinned.count != 0) {
    const auto answer = resolve::continue_(*around_.on, range_of(pinned), {}, page_size_);
    if (answer.is_resolved() || answer.error()) return answer.error();
    const timespec moment{0, 50'000};
    ::nanosleep(&moment, nullptr);
  }
  return {};
}

}  // namespace uffd::detail
