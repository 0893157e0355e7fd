// SPDX-License-Identifier: MIT
#include "tracking/page_saver.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "tracking/zeroes.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {
page_saver::page_saver(snapshot_memory& memory, page_sink& sink, bool has_base)
    : memory_(memory),
      sink_(sink),
      has_base_(has_base),
      buffer_(mapping::anonymous(std::max(batch_bytes, memory.largest_page()))),
      is_hole_(buffer_.bytes().size() / page_size()) {
  buffer_.keep_from_children();
}

void page_saver::run() noexcept {
  // A source may take long: before it is read nobody needs a buffer any more.
  for (auto& area : memory_.areas())
    if (area->kind == backing::paged) save_written(*area);
  for (auto& area : memory_.areas()) walk(*area);
  while (memory_.is_saving()) {
    const auto seen = memory_.news();
    // First: a buffer in use after it was found free is of a page that nobody wants any more.
    const bool is_over = !has_images_in_use();
    serve();
    if (is_over) return;
    if (memory_.is_saving() && has_images_in_use()) memory_.wait_for_news(seen);
  }
}

void page_saver::walk(saved_area& area) noexcept {
  constexpr std::uint8_t wanted = page_bit::pending | page_bit::absent;
  const auto end = area.pages.pages();
  for (std::size_t page = area.pages.next_with(wanted, 0, end); page < end && memory_.is_saving();
       page = area.pages.next_with(wanted, page, end)) {
    serve();
    if (area.kind == backing::paged)
      save_paged(area, page);
    else if ((area.pages.at(page) & page_bit::absent) != 0)
      put_absent(area, page);
    else if (const auto count = claim_run(area, page); count != 0)
      save_run(area, page, count);
  }
}

std::size_t page_saver::most_at_once(const saved_area& area, std::size_t first) const noexcept {
  return std::min(buffer_.bytes().size() / area.page_size, area.pages.pages() - first);
}

std::size_t page_saver::claim_run(saved_area& area, std::size_t first) const noexcept {
  const auto most = most_at_once(area, first);
  std::size_t count = 0;
  while (count < most && area.pages.claim(first + count)) ++count;
  return count;
}

// They stay protected: until they are written, the next snapshot needs nothing of them. They are
// given back before they are put, so that no writer waits for the sink.
void page_saver::save_run(saved_area& area, std::size_t first, std::size_t count) noexcept {
  const bool is_copied = copy_run(area, first, count);
  for (std::size_t i = 0; i < count; ++i) area.pages.release(first + i);
  if (!is_copied) return;
  put(area, first, buffer_.bytes().first(count * area.page_size));
}

// Into the buffer, with zeroes where nothing is.
bool page_saver::copy_run(saved_area& area, std::size_t first, std::size_t count) noexcept {
  if (!find_holes(area, first, count)) return false;
  const auto size = area.page_size;
  for (std::size_t i = 0; i < count;) {
    std::size_t end = i + 1;
    while (end < count && is_hole_[end] == is_hole_[i]) ++end;
    const auto into = buffer_.bytes().subspan(i * size, (end - i) * size);
    if (is_hole_[i])
      std::memset(into.data(), 0, into.size());
    else if (!memory_.copy(area, first + i, end - i, into))
      return false;
    i = end;
  }
  return true;
}

// Reading a hole of the page cache would fill it.
bool page_saver::find_holes(const saved_area& area, std::size_t first, std::size_t count) noexcept {
  is_hole_.assign(is_hole_.size(), false);
  if (area.kind != backing::page_cache) return true;
  bool is_sound = true;
  const int number =
      memory_.map().for_each_run(area.page(first, count), [&](const mapped_run& run) {
        if (run.is_present || !is_sound) return;
        for (auto page = area.first_page_of(run.range); page < area.end_page_of(run.range); ++page)
          is_sound = is_sound && probe(area, page, page - first);
      });
  if (number != 0)
    memory_.fail({{number, std::system_category()}, "looking up pages", area.page(first, count)});
  return is_sound && number == 0;
}

// UFFDIO_CONTINUE maps a page that the page cache has, marked, and says EFAULT where it has none.
// Kernels that can't mark say EINVAL: then reading it is all that is left.
bool page_saver::probe(const saved_area& area, std::size_t page, std::size_t place) noexcept {
  patience left;
  outcome found;
  do found = memory_.on().continue_(area.page(page), fill_mode::write_protect);
  while (found.error() == condition::retry && left.wait());
  if (found.number == EFAULT) is_hole_[place] = true;
  return found.number != EFAULT || memory_.check(area, page, 1);
}

void page_saver::put_absent(saved_area& area, std::size_t first) noexcept {
  std::size_t count = 0;
  while (first + count < area.pages.pages() &&
         (area.pages.at(first + count) & page_bit::absent) != 0)
    area.pages.clear(first + count++, page_bit::absent);
  put_zeroes(area, first, count);
  counts_.done += count * area.page_size;
}

// Writers come first: what waits for a buffer, or holds one, holds them up.
void page_saver::serve() noexcept {
  serve_waiting();
  save_published();
}

// As many as the buffer has room for, which stands in for those that are used up. All are let
// through before any is put.
void page_saver::serve_waiting() noexcept {
  struct place {
    saved_area* area;
    std::size_t page;
    std::span<const std::byte> bytes;
  };
  std::array<place, 64> copied{};
  std::size_t count = 0;
  std::size_t used = 0;
  while (count < copied.size() && used + memory_.largest_page() <= buffer_.bytes().size()) {
    auto writer = memory_.next_waiting();
    if (!writer) break;
    auto& area = *memory_.areas()[writer->area];
    if (area.pages.claim(writer->page)) {
      const auto bytes = buffer_.bytes().subspan(used, area.page_size);
      if (memory_.copy(area, writer->page, 1, bytes)) {
        copied[count++] = {&area, writer->page, bytes};
        used += bytes.size();
      }
      area.pages.release(writer->page);
    }
    memory_.let_through(*writer);
  }
  for (const auto& each : std::span(copied).first(count)) put(*each.area, each.page, each.bytes);
}

void page_saver::save_published() noexcept {
  for (auto& buffers : memory_.buffers()) {
    if (!buffers->has_published()) continue;
    buffers->for_each_published([&](std::uint32_t image, std::size_t area, std::size_t page) {
      if (memory_.is_saving()) put(*memory_.areas()[area], page, buffers->bytes(image));
      buffers->give_back(image);
    });
  }
}

bool page_saver::has_images_in_use() const noexcept {
  return std::any_of(memory_.buffers().begin(), memory_.buffers().end(),
                     [](const auto& each) { return each->in_use() != 0; });
}

void page_saver::put(saved_area& area, std::size_t first,
                     std::span<const std::byte> pages) noexcept {
  const auto size = area.page_size;
  const auto count = pages.size() / size;
  for (std::size_t i = 0; i < count && memory_.is_saving();) {
    const bool zero = is_zero(pages.subspan(i * size, size));
    std::size_t end = i + 1;
    while (end < count && is_zero(pages.subspan(end * size, size)) == zero) ++end;
    if (zero)
      put_zeroes(area, first + i, end - i);
    else
      put_bytes(area, first + i, pages.subspan(i * size, (end - i) * size));
    i = end;
  }
  counts_.done += pages.size();
}

void page_saver::put_bytes(saved_area& area, std::size_t first,
                           std::span<const std::byte> pages) noexcept {
  const auto count = pages.size() / area.page_size;
  note(sink_.put(area.index, first * area.page_size, pages), area, first, count);
  for (std::size_t i = 0; i < count; ++i) area.pages.set(first + i, page_bit::stored);
  counts_.put += pages.size();
}

// Without a base there is nothing that would have to be said.
void page_saver::put_zeroes(saved_area& area, std::size_t first, std::size_t count) noexcept {
  const auto size = area.page_size;
  for (std::size_t i = 0; i < count && memory_.is_saving();) {
    const auto before = area.pages.set(first + i, page_bit::zeroed) & page_bit::stored;
    std::size_t end = i + 1;
    while (end < count && (area.pages.at(first + end) & page_bit::stored) == before)
      area.pages.set(first + end++, page_bit::zeroed);
    if (before != 0 && has_base_)
      note(sink_.put_zero(area.index, (first + i) * size, (end - i) * size), area, first + i,
           end - i);
    i = end;
  }
  counts_.zero += count * size;
}

void page_saver::note(std::error_code error, const saved_area& area, std::size_t first,
                      std::size_t count) noexcept {
  if (error) memory_.fail({error, "saving memory", area.page(first, count)});
}

}  // namespace uffd::detail
