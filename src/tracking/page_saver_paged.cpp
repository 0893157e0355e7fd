// SPDX-License-Identifier: MIT
// How what a pager serves is saved: what was written from memory, and the rest from the source, so
// that nothing is loaded for it and nothing evicted.
#include <chrono>

#include "detail/monotonic.hpp"
#include "tracking/page_saver.hpp"
#include "uffd/detail/syscall.hpp"

namespace uffd::detail {
namespace {

constexpr std::int64_t pause_before_retry = 1'000'000;  // nanoseconds

// Until it is given back it stays the one or the other.
bool claim_if(saved_area& area, std::size_t page, bool is_written) noexcept {
  if (!area.pages.claim(page)) return false;
  if (area.by_pager->is_written(page) == is_written) return true;
  area.pages.unclaim(page);
  return false;
}

}  // namespace

void page_saver::save_written(saved_area& area) noexcept {
  const auto end = area.pages.pages();
  for (auto page = area.pages.next_with(page_bit::pending, 0, end);
       page < end && memory_.is_saving();
       page = area.pages.next_with(page_bit::pending, page, end)) {
    if (const auto count = claim_written(area, page); count != 0) {
      save_run(area, page, count);
      serve();
    } else {
      ++page;
    }
  }
  serve();
}

// Whoever writes to what the source has need not wait until it is read.
void page_saver::save_paged(saved_area& area, std::size_t first) noexcept {
  const auto most = most_at_once(area, first);
  std::size_t count = 0;
  while (count < most && take_unwritten(area, first + count)) ++count;
  if (count != 0) {
    std::span<const std::byte> bytes;
    if (read_source(area, first, count, bytes)) put(area, first, bytes);
    return;
  }
  count = claim_written(area, first);
  if (count != 0) save_run(area, first, count);
}

std::size_t page_saver::claim_written(saved_area& area, std::size_t first) const noexcept {
  const auto most = most_at_once(area, first);
  std::size_t count = 0;
  while (count < most && claim_if(area, first + count, true)) ++count;
  return count;
}

bool page_saver::take_unwritten(saved_area& area, std::size_t page) noexcept {
  if ((area.pages.at(page) & page_bit::in_source) != 0) {
    area.pages.clear(page, page_bit::in_source);
    return true;
  }
  if (!claim_if(area, page, false)) return false;
  area.pages.release(page);
  return true;
}

bool page_saver::read_source(const saved_area& area, std::size_t first, std::size_t count,
                             std::span<const std::byte>& bytes) noexcept {
  const auto began = monotonic_nanoseconds();
  for (;; call_sleep(pause_before_retry)) {
    const auto error = area.by_pager->read_source(first, count, buffer_.bytes(), bytes);
    if (!error) return true;
    const std::chrono::nanoseconds since(monotonic_nanoseconds() - began);
    if (!memory_.is_saving()) return false;
    if (!area.by_pager->may_pass(error, since)) {
      memory_.fail({error, "reading the source of paged memory", area.page(first, count)});
      return false;
    }
    serve();
  }
}

}  // namespace uffd::detail
