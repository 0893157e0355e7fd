// SPDX-License-Identifier: MIT
#include "tracking/page_protector.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

// Small enough that threads end together, large enough that an ioctl for each is nothing.
constexpr std::size_t chunk_bytes = std::size_t{16} << 20;
// An ioctl for one page takes as long as protecting so many at once, where another CPU's table of
// addresses must be flushed, too: several threads protect. Those that are protected stay so.
constexpr std::size_t pages_worth_a_call = 64;

}  // namespace

page_protector::page_protector(snapshot_memory& memory, unsigned threads)
    : memory_(memory), crew_(threads) {
  for (auto& area : memory.areas()) {
    const auto size = std::max(chunk_bytes, area->page_size);
    for (auto begin = area->range.begin(); begin < area->range.end();) {
      // Borders where no transparent huge page has its middle.
      const auto end = std::min<std::uintptr_t>(align_down(begin, size) + size, area->range.end());
      chunks_.push_back({area.get(), {begin, end - begin}});
      begin = end;
    }
  }
}

// What never was protected raises no fault: nobody looks at its pages' states yet.
void page_protector::prepare(bool full) noexcept {
  full_ = full;
  protected_bytes_ = 0;
  next_ = 0;
  for (auto& area : memory_.areas())
    if (!area->was_protected)
      area->pages.fill(0, area->pages.pages(), page_bit::pending | page_bit::owed);
}

void page_protector::protect() noexcept {
  const auto work = [this] {
    for (auto mine = next_++; mine < chunks_.size() && memory_.is_saving(); mine = next_++)
      protect_chunk(chunks_[mine]);
  };
  if (chunks_.size() > 1)
    crew_.run(work);
  else
    work();
  for (auto& area : memory_.areas()) {
    // Of what was left out nobody knows.
    if (!area->was_protected && !memory_.is_saving())
      for (std::size_t page = 0; page < area->pages.pages(); ++page)
        area->pages.set(page, page_bit::dirty);
    area->was_protected = true;
  }
}

void page_protector::protect_chunk(const chunk& part) noexcept {
  auto& area = *part.area;
  pages_to_mark open;
  int number = 0;
  // Of other memory than anonymous, holes bear marks, too.
  if (area.was_protected || area.kind == backing::anonymous)
    number = memory_.map().for_each_run(part.range, [&](const mapped_run& run) {
      if (area.was_protected)
        look_at(area, run, open);
      else if (!run.is_there)
        pass_over(area, area.first_page_of(run.range), area.end_page_of(run.range));
    });
  if (!area.was_protected) {
    // What appears meanwhile is dirty and marked, as if written between this snapshot and the next.
    open = {area.first_page_of(part.range), area.end_page_of(part.range)};
    protected_bytes_ += part.range.size();
  }
  mark(area, open.first, open.end);
  if (number != 0) memory_.fail({{number, std::system_category()}, "looking up pages", part.range});
}

void page_protector::look_at(saved_area& area, const mapped_run& run,
                             pages_to_mark& open) noexcept {
  const auto first = area.first_page_of(run.range);
  const auto end = area.end_page_of(run.range);
  if (!run.is_there && area.kind == backing::anonymous) return pass_over(area, first, end);
  if (run.is_marked || !memory_.map().tells_marks())
    return demand_protected(area, first, end, open);
  for (auto page = first; page < end; ++page) demand_unprotected(area, page, open);
}

// What bears a mark has not changed, but where marks aren't told, or where one was put on again
// together with its neighbours' a moment after somebody wrote: the states tell. It may be wanted
// all the same.
void page_protector::demand_protected(saved_area& area, std::size_t first, std::size_t end,
                                      pages_to_mark& open) noexcept {
  const auto demand = [&](std::size_t page) {
    if ((area.pages.at(page) & page_bit::dirty) != 0)
      demand_unprotected(area, page, open);
    else
      area.pages.demand(page);
  };
  if (!full_)
    return area.pages.for_each_with(page_bit::owed | page_bit::removed | page_bit::dirty, first,
                                    end, demand);
  for (auto page = first; page < end; ++page) demand(page);
}

void page_protector::demand_unprotected(saved_area& area, std::size_t page,
                                        pages_to_mark& open) noexcept {
  // A part of a huge page may come alone.
  if (!area.pages.demand_unprotected(page)) return;
  protected_bytes_ += area.page_size;
  if (page > open.end + pages_worth_a_call || open.first == open.end) {
    mark(area, open.first, open.end);
    open.first = page;
  }
  open.end = page + 1;
}

// What isn't there reads as zeroes, now and until it is written, which nobody will hear of.
// Protecting it costs nothing, and finds out whether it is still the memory that was served.
void page_protector::pass_over(saved_area& area, std::size_t first, std::size_t end) noexcept {
  auto& pages = area.pages;
  if (area.was_protected) {
    for (auto page = pages.next_without(page_bit::dirty, first, end); page < end;
         page = pages.next_without(page_bit::dirty, page + 1, end))
      pages.set(page, page_bit::dirty);
    mark(area, first, end);
  } else {
    protected_bytes_ -= (end - first) * area.page_size;
    pages.fill(first, end, page_bit::dirty);
  }
  pages.for_each_with(page_bit::stored, first, end, [&](std::size_t page) {
    pages.set(page,
              page_bit::owed | page_bit::dirty | (full_ ? page_bit::zeroed : page_bit::absent));
  });
}

void page_protector::mark(saved_area& area, std::size_t first, std::size_t end) noexcept {
  if (first == end) return;
  const auto range = area.page(first, end - first);
  patience left;
  const int number = write_protect(range, area.page_size, left);
  area.pages.has_protected(first, end);
  if (number != 0)
    memory_.fail({{number, std::system_category()},
                  "write-protecting memory; was a part of it unmapped or moved?",
                  range});
}

// By halves where a range lies in several mappings, which Linux before 6.3 refuses.
int page_protector::write_protect(page_range range, std::size_t page,
                                  patience& left) const noexcept {
  outcome done = memory_.on().write_protect(range);
  while (done.error() == condition::retry && left.wait()) done = memory_.on().write_protect(range);
  if (done.number != ENOENT || range.size() <= page) return done.number;
  const auto half = align_down(range.size() / 2 + page - 1, page);
  const int number = write_protect({range.begin(), half}, page, left);
  if (number != 0) return number;
  return write_protect({range.begin() + half, range.size() - half}, page, left);
}

}  // namespace uffd::detail
