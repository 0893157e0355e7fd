// SPDX-License-Identifier: MIT
#include "tracking/page_protector.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <system_error>

#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

// Small enough that threads end together, large enough that an ioctl for each is nothing.
constexpr std::size_t chunk_bytes = std::size_t{16} << 20;
// An ioctl for one page takes as long as protecting so many at once, where another CPU's table of
// addresses must be flushed, too: several threads protect. Those that are protected stay so.
constexpr std::size_t pages_worth_a_call = 64;
// Kept for one thread. Those that find no room are protected where they are found.
constexpr std::size_t most_kept = 4096;
// Writers write meanwhile, so that what is left to be protected never becomes nothing.
constexpr unsigned most_passes = 5;
constexpr std::size_t few_pages = 64;
constexpr auto unmapped = "write-protecting memory; was a part of it unmapped or moved?";

// Protecting a range passes over what is not mapped in it.
bool is_whole(page_range range) noexcept {
  std::array<unsigned char, 4096> there{};
  while (!range.empty()) {
    const auto now = std::min(range.size(), there.size() * page_size());
    if (::mincore(reinterpret_cast<void*>(range.begin()), now, there.data()) != 0 &&
        errno == ENOMEM)
      return false;
    range = {range.begin() + now, range.size() - now};
  }
  return true;
}

}  // namespace

page_protector::page_protector(snapshot_memory& memory, unsigned threads)
    : memory_(memory), crew_(threads), kept_(threads > 1 ? most_kept : 0) {
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

void page_protector::protect_ahead(bool full) noexcept {
  full_ = full;
  bytes_ahead_ = 0;
  pass_ = pass::first;
  protect_all();
  pass_ = pass::again;
  for (unsigned passes = 1; passes < most_passes && found_ > few_pages; ++passes) {
    const std::size_t before = found_;
    protect_all();
    if (found_ > before / 2) break;
  }
}

void page_protector::protect() noexcept {
  pass_ = pass::at_the_moment;
  bytes_at_the_moment_ = 0;
  kept_count_ = 0;
  protect_all();
  for (const auto& each : std::span(kept_).first(std::min(kept_count_.load(), kept_.size())))
    mark(*each.area, each.pages.first, each.pages.end);
}

void page_protector::protect_all() noexcept {
  next_ = 0;
  found_ = 0;
  const auto work = [this] {
    for (auto mine = next_++; mine < chunks_.size() && !memory_.has_failed(); mine = next_++)
      protect_chunk(chunks_[mine]);
  };
  if (chunks_.size() > 1)
    crew_.run(work);
  else
    work();
}

// After the first pass, what is wanted is pending but for what somebody wrote or dropped meanwhile.
template <class Demand>
void page_protector::for_each_wanted(saved_area& area, std::size_t first, std::size_t end,
                                     Demand&& demand) const noexcept {
  if (pass_ == pass::first && full_) {
    for (auto page = first; page < end; ++page) demand(page);
  } else {
    const auto wanted = pass_ == pass::first ? page_bit::owed : page_bit::claimed;
    area.pages.for_each_with(
        static_cast<std::uint8_t>(wanted | page_bit::removed | page_bit::dirty), first, end,
        demand);
  }
}

void page_protector::protect_chunk(const chunk& part) noexcept {
  auto& area = *part.area;
  if (area.kind == backing::paged) return protect_paged(area, part);
  found_in_chunk found;
  const int number = memory_.map().for_each_run(
      part.range, [&](const mapped_run& run) { look_at(area, run, found); });
  has_found(area, found);
  check(part, number, found.has_holes);
}

// Pages' states alone tell what was written, and the pager what of that is there: the rest it has
// protected itself, or will when it brings it.
void page_protector::protect_paged(saved_area& area, const chunk& part) noexcept {
  found_in_chunk found;
  const auto demand = [&](std::size_t page) {
    if (area.pages.demand(page) || !area.pages.demand_unprotected(page)) return;
    // Until it counts as protected nobody unprotects it.
    if (!area.by_pager->may_be_unprotected(page)) {
      area.pages.has_protected(page, page + 1);
      return;
    }
    ++found.pages;
    extend(area, page, page + 1, found.open);
  };
  for_each_wanted(area, area.first_page_of(part.range), area.end_page_of(part.range), demand);
  has_found(area, found);
}

void page_protector::has_found(saved_area& area, const found_in_chunk& found) noexcept {
  settle(area, found.open);
  found_ += found.pages;
  (pass_ == pass::at_the_moment ? bytes_at_the_moment_ : bytes_ahead_) +=
      found.pages * area.page_size;
}

void page_protector::check(const chunk& part, int number, bool has_holes) noexcept {
  if (number != 0)
    memory_.fail({{number, std::system_category()}, "looking up pages", part.range});
  else if (has_holes && !is_whole(part.range))
    memory_.fail({{ENOENT, std::system_category()}, unmapped, part.range});
}

void page_protector::look_at(saved_area& area, const mapped_run& run,
                             found_in_chunk& found) noexcept {
  const auto first = area.first_page_of(run.range);
  const auto end = area.end_page_of(run.range);
  found.has_holes = found.has_holes || !run.is_there;
  if (!run.is_there && area.kind == backing::anonymous)
    pass_over(area, first, end, found);
  else if (run.is_marked || !memory_.map().tells_marks())
    demand_protected(area, first, end, found);
  else
    for (auto page = first; page < end; ++page) demand_unprotected(area, page, found);
}

// What bears a mark has not changed, but where marks aren't told, or where one was put on again
// together with its neighbours' a moment after somebody wrote: the states tell. It may be wanted
// all the same.
void page_protector::demand_protected(saved_area& area, std::size_t first, std::size_t end,
                                      found_in_chunk& found) noexcept {
  for_each_wanted(area, first, end, [&](std::size_t page) {
    if (!area.pages.demand(page)) demand_unprotected(area, page, found);
  });
}

// A drop is told before it is done. Where no marks tell afterwards, what was dropped is left for
// the moment, at which it is over.
void page_protector::demand_unprotected(saved_area& area, std::size_t page,
                                        found_in_chunk& found) noexcept {
  const bool waits = pass_ != pass::at_the_moment && !memory_.map().tells_marks();
  // A part of a huge page may come alone.
  if (!area.pages.demand_unprotected(page, waits ? page_bit::removed : std::uint8_t{0})) return;
  ++found.pages;
  extend(area, page, page + 1, found.open);
}

// What isn't there reads as zeroes, now and until it is written, which nobody will hear of.
// Protecting it costs nothing, and finds out whether it is still the memory that was served.
void page_protector::pass_over(saved_area& area, std::size_t first, std::size_t end,
                               found_in_chunk& found) noexcept {
  auto& pages = area.pages;
  extend(area, first, end, found.open);
  const auto leave_out = [&](std::size_t page) { pages.pass_over(page); };
  pages.for_each_with(page_bit::pending | page_bit::claimed, first, end, leave_out);
  for (auto page = pages.next_without(page_bit::dirty, first, end); page < end;
       page = pages.next_without(page_bit::dirty, page + 1, end))
    leave_out(page);
  if (pass_ != pass::at_the_moment) return;
  pages.for_each_with(page_bit::stored, first, end, [&](std::size_t page) {
    pages.set(page,
              page_bit::owed | page_bit::dirty | (full_ ? page_bit::zeroed : page_bit::absent));
  });
}

// Together with what is near, which comes in ascending order.
void page_protector::extend(saved_area& area, std::size_t first, std::size_t end,
                            pages_to_mark& open) noexcept {
  if (first > open.end + pages_worth_a_call || open.first == open.end) {
    settle(area, open);
    open.first = first;
  }
  open.end = end;
}

// At the moment, when all writers stand still, one thread alone is faster with a few pages at a
// time than several, who flush each other's tables of addresses.
void page_protector::settle(saved_area& area, const pages_to_mark& open) noexcept {
  if (open.first == open.end) return;
  if (pass_ == pass::at_the_moment && open.end - open.first <= pages_worth_a_call)
    if (const auto place = kept_count_++; place < kept_.size()) {
      kept_[place] = {&area, open};
      return;
    }
  mark(area, open.first, open.end);
}

void page_protector::mark(saved_area& area, std::size_t first, std::size_t end) noexcept {
  const auto range = area.page(first, end - first);
  patience left;
  const int number = write_protect(range, area.page_size, left);
  if (number == 0) return area.pages.has_protected(first, end);
  // Nobody knows which of them are protected: none counts as if it was.
  area.pages.for_each_with(page_bit::claimed, first, end,
                           [&](std::size_t page) { area.pages.forget(page); });
  memory_.fail({{number, std::system_category()}, unmapped, range});
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
