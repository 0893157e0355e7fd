// SPDX-License-Identifier: MIT
#include "tracking/snapshot_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <thread>

#include "detail/monotonic.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {
namespace {

constexpr int most_looks = 64;  // at a page that another thread is at

std::error_code system_error_of(int number) noexcept { return {number, std::system_category()}; }

}  // namespace

snapshot_memory::snapshot_memory(const handle& on, std::span<const region_info> areas,
                                 std::span<const backing> kinds, std::size_t extra,
                                 page_lookup lookup)
    : on_(handle_access::share(on)), map_(on_, lookup) {
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < areas.size(); ++i) {
    const auto& info = areas[i];
    areas_.push_back(std::make_unique<saved_area>(i, info.range, info.page_size, kinds[i]));
    if (std::find(sizes.begin(), sizes.end(), info.page_size) == sizes.end())
      sizes.push_back(info.page_size);
  }
  for (const auto size : sizes) {
    const auto count = extra / sizes.size() / size;
    if (count == 0)
      throw_errno(EINVAL, "snapshotter: extra_memory of " + std::to_string(extra) +
                              " bytes has no room for a page of " + std::to_string(size));
    buffers_.push_back(std::make_unique<pre_image_buffers>(size, count));
    for (auto& area : areas_)
      if (area->page_size == size) area->buffers = buffers_.back().get();
  }
}

std::size_t snapshot_memory::bytes() const noexcept {
  std::size_t sum = 0;
  for (const auto& area : areas_) sum += area->range.size();
  return sum;
}

std::size_t snapshot_memory::largest_page() const noexcept {
  std::size_t largest = 0;
  for (const auto& area : areas_) largest = std::max(largest, area->page_size);
  return largest;
}

// Whoever began in the stage before has finished then.
void snapshot_memory::enter(stage next) noexcept {
  stage_.exchange(next, std::memory_order_seq_cst);
  writes_under_way_.wait();
}

resolution snapshot_memory::on_write(saved_area& area, fault& raised) noexcept {
  if (raised.kind() != fault_kind::write_protect) return resolution::gone();
  const auto since = monotonic_nanoseconds();
  const auto page = raised.offset() / area.page_size;
  const auto unprotect = [&] { return raised.unprotect(); };
  return let_write(area, page, false, unprotect, [&] {
    if (!waiting_.add(raised, area.index, page, since)) return resolution::retry();
    tell_news();
    return resolution::deferred();
  });
}

// Its source keeps for the snapshot what nobody has written yet. A pager would have to keep a page
// that waits from everybody: it has it tried again.
resolution snapshot_memory::on_write(saved_area& area, std::size_t page, bool is_as_in_source,
                                     fault* raised) noexcept {
  const auto unprotect = [&] {
    return raised != nullptr ? raised->unprotect() : resolve::unprotect(on_, area.page(page));
  };
  return let_write(area, page, is_as_in_source, unprotect, [] { return resolution::retry(); });
}

// Between a claim and its release lie a copy and an ioctl, never a wait for a sink. Where the page
// is pending it is copied first, unless it is in a source.
template <class Unprotect, class Wait>
resolution snapshot_memory::let_write(saved_area& area, std::size_t page, bool is_in_source,
                                      Unprotect&& unprotect, Wait&& wait) noexcept {
  const grace_period::reader under_way(writes_under_way_);
  const auto since = monotonic_nanoseconds();
  for (int looks = 0;;) {
    const auto now = stage_.load(std::memory_order_seq_cst);
    const auto seen = area.pages.at(page);
    bool is_mine = false;
    if (now == stage::pausing || (seen & page_bit::claimed) != 0) {
      // Mostly a copy is under way, which takes less time than coming again.
      if (++looks > most_looks) return resolution::retry();
      std::this_thread::yield();
    } else if (now == stage::resting) {
      is_mine = area.pages.claim_to_write_unsaved(page);
    } else if ((seen & page_bit::pending) == 0) {
      is_mine = area.pages.claim_to_write(page);
    } else if (is_in_source) {
      is_mine = area.pages.claim_to_write_over_source(page);
    } else if (!save_first(area, page)) {
      return wait();
    }
    if (!is_mine) continue;
    const auto answer = unprotect();
    area.pages.release(page);
    if (now == stage::saving) note_wait(since);
    return answer;
  }
}

// False if no buffer is left. Whoever saves may wait for the last one.
bool snapshot_memory::save_first(saved_area& area, std::size_t page) noexcept {
  const auto image = area.buffers->take();
  if (!image) return false;
  const bool is_mine = area.pages.claim(page);
  if (is_mine && copy(area, page, 1, area.buffers->bytes(*image))) {
    area.buffers->publish(*image, area.index, page);
    pre_images_.fetch_add(1, std::memory_order_relaxed);
  } else {
    area.buffers->give_back(*image);
  }
  if (is_mine) area.pages.release(page);
  tell_news();
  return true;
}

// The drop goes on when its event is read, so whether the snapshot has the bytes from before it,
// only the pages' marks could tell, which such memory keeps. Of what a pager serves it is told
// late, when the page is wanted again.
void snapshot_memory::on_remove(saved_area& area, page_range dropped) noexcept {
  if (area.kind == backing::anonymous && map_.tells_marks()) return;
  const auto part = dropped.intersection(area.range);
  if (part.empty()) return;
  const bool is_private = area.kind == backing::anonymous || area.kind == backing::paged;
  const std::uint8_t lost = is_private ? page_bit::removed | page_bit::dirty : page_bit::removed;
  std::uint8_t before = 0;
  for (auto page = area.first_page_of(part); page < area.end_page_of(part); ++page)
    before |= area.pages.set(page, lost);
  if ((before & page_bit::owed) != 0 && stage_.load(std::memory_order_acquire) != stage::resting)
    fail({system_error_of(ENODATA), "memory was dropped while it was being saved", part});
}

void snapshot_memory::begin() noexcept {
  pre_images_.store(0, std::memory_order_relaxed);
  longest_wait_.store(0, std::memory_order_relaxed);
  for (auto& each : buffers_) each->begin();
  {
    const std::lock_guard lock(failure_lock_);
    failure_ = {};
  }
  has_failed_.store(false, std::memory_order_release);
}

void snapshot_memory::save() noexcept {
  waiting_.open(true);
  auto now = stage::pausing;
  stage_.compare_exchange_strong(now, stage::saving, std::memory_order_acq_rel);
}

void snapshot_memory::forget_pending() noexcept {
  for (auto& area : areas_)
    area->pages.for_each_with(page_bit::pending | page_bit::absent, 0, area->pages.pages(),
                              [&](std::size_t page) { area->pages.forget(page); });
}

void snapshot_memory::let_nobody_wait() noexcept {
  waiting_.open(false);
  let_all_through();
}

void snapshot_memory::end(bool is_complete) noexcept {
  enter(stage::resting);
  forget_pending();
  let_nobody_wait();
  // Whoever is at a page now gives its buffer back.
  for (auto& each : buffers_) {
    while (each->in_use() != 0) {
      each->for_each_published(
          [&](std::uint32_t image, std::size_t, std::size_t) { each->give_back(image); });
      std::this_thread::yield();
    }
    each->rest();
  }
  for (auto& area : areas_) {
    auto& pages = area->pages;
    pages.for_each_with(page_bit::owed | page_bit::zeroed, 0, pages.pages(), [&](std::size_t page) {
      if (!is_complete)
        pages.clear(page, page_bit::zeroed);
      else if ((pages.at(page) & page_bit::zeroed) != 0)
        pages.clear(page, page_bit::owed | page_bit::zeroed | page_bit::stored);
      else
        pages.clear(page, page_bit::owed);
    });
  }
}

void snapshot_memory::fail(const snapshot_failure& why) noexcept {
  {
    const std::lock_guard lock(failure_lock_);
    if (failure_.error) return;
    failure_ = why;
  }
  has_failed_.store(true, std::memory_order_release);
  stage_.exchange(stage::resting, std::memory_order_acq_rel);
  forget_pending();
  tell_news();
}

snapshot_failure snapshot_memory::failure() const noexcept {
  const std::lock_guard lock(failure_lock_);
  return failure_;
}

bool snapshot_memory::copy(const saved_area& area, std::size_t first, std::size_t count,
                           std::span<std::byte> into) noexcept {
  const auto from = area.page(first, count);
  // Reading what a pager has lost would ask the pager for it.
  if (area.kind == backing::paged && !is_there(area, first, count)) return false;
  const int number = reader_.read(from, into.first(from.size()));
  if (number == 0) return area.kind == backing::paged || check(area, first, count);
  fail({system_error_of(number), "memory that is unmapped or may not be read", from});
  return false;
}

bool snapshot_memory::is_there(const saved_area& area, std::size_t first,
                               std::size_t count) noexcept {
  // Of a huge page a mark may be left, which looks as if it was swapped out.
  const bool is_small = area.page_size == page_size();
  bool is = true;
  const int number = map_.for_each_run(area.page(first, count), [&](const mapped_run& run) {
    is = is && (run.is_present || (run.is_there && is_small));
  });
  if (number == 0 && is) return true;
  fail({system_error_of(number != 0 ? number : ENODATA),
        "memory was dropped while it was being saved", area.page(first, count)});
  return false;
}

// A page that is there and bears its mark after it was read is the one that was there at the
// moment, as it was: the mark goes with any write, and with the page where that is anonymous.
bool snapshot_memory::check(const saved_area& area, std::size_t first, std::size_t count) noexcept {
  bool is_as_it_was = true;
  const int number = map_.for_each_run(area.page(first, count), [&](const mapped_run& run) {
    is_as_it_was = is_as_it_was && (map_.tells_marks() ? run.is_marked : run.is_there);
  });
  if (number == 0 && is_as_it_was) return true;
  fail({system_error_of(number != 0 ? number : ENODATA),
        "memory was dropped, unmapped or moved while it was being saved", area.page(first, count)});
  return false;
}

void snapshot_memory::let_through(waiting_writer& writer) noexcept {
  auto& pages = areas_[writer.area]->pages;
  while (!pages.claim_to_write_unsaved(writer.page)) std::this_thread::yield();
  patience left;
  while (writer.fault.unprotect().kind() == resolution::state::retry && left.wait()) {
  }
  pages.release(writer.page);
  note_wait(writer.since);
}

void snapshot_memory::let_all_through() noexcept {
  while (auto writer = waiting_.take()) let_through(*writer);
}

void snapshot_memory::note_wait(std::int64_t since) noexcept {
  const auto waited = monotonic_nanoseconds() - since;
  auto longest = longest_wait_.load(std::memory_order_relaxed);
  while (waited > longest &&
         !longest_wait_.compare_exchange_weak(longest, waited, std::memory_order_relaxed)) {
  }
}

}  // namespace uffd::detail
