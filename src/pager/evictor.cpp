// SPDX-License-Identifier: MIT
#include "pager/evictor.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>

#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"
#include "uffd/pager/memory_budget.hpp"

namespace uffd::detail {
namespace {

constexpr std::size_t looks_at_once = 4096;    // pages, with the lock held
constexpr std::size_t looks_for_room = 65536;  // pages, in the thread that needs room
constexpr std::size_t most_margin = std::size_t{8} << 20;
constexpr int pause = 10;  // milliseconds, where nothing could be evicted

}  // namespace

evictor::evictor(std::size_t limit)
    : limit_(limit),
      // Without one, which some containers forbid, ranges are dropped one by one.
      self_(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))),
      wakes_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wakes_) throw_errno(errno, "memory_budget: eventfd");
  if (limit != memory_budget::unlimited) start_thread();
}

evictor::~evictor() {
  if (!thread_ || home_.in_child()) return;
  is_over_.store(true);
  wake_up();
  thread_->join();
}

void evictor::start_thread() {
  const std::lock_guard lock(starting_);
  if (!thread_) thread_.emplace("uffd evictor", std::nullopt, [this] { run(); });
}

void evictor::set_limit(std::size_t bytes) {
  if (bytes != memory_budget::unlimited) start_thread();
  limit_.store(bytes, std::memory_order_relaxed);
  if (is_short()) wake_up();
}

// How far below the limit the thread begins, and again as far it goes on: a sixteenth each.
std::size_t evictor::margin() const noexcept {
  return std::clamp(limit() / 16, page_size(), most_margin);
}

std::size_t evictor::room() const noexcept {
  const auto limit = this->limit();
  if (limit == memory_budget::unlimited) return limit;
  const auto from = limit - std::min(limit, 2 * margin());
  return from - std::min(from, resident());
}

bool evictor::is_short() const noexcept { return room() == 0; }

void evictor::wake_up() noexcept {
  if (is_awake_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  if (::write(wakes_.get(), &one, sizeof one) < 0) return;  // EAGAIN: it is awake
}

bool evictor::reserve(std::size_t bytes) noexcept {
  const auto limit = this->limit();
  auto now = resident();
  do {
    if (now > limit || bytes > limit - now) {
      if (!is_awake_.load(std::memory_order_relaxed)) wake_up();
      return false;
    }
  } while (!resident_.compare_exchange_weak(now, now + bytes, std::memory_order_relaxed));
  if (now + bytes > limit - std::min(limit, margin()) && !is_awake_.load(std::memory_order_relaxed))
      [[unlikely]]
    wake_up();
  return true;
}

bool evictor::reserve_buffers(std::size_t bytes) noexcept {
  const auto most = limit() / 2;
  if (buffers_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= most) {
    for (int tries = 0; tries < 1000; ++tries) {
      if (reserve(bytes)) return true;
      if (!make_room(bytes)) ::poll(nullptr, 0, 1);
    }
  }
  buffers_.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

void evictor::release_buffers(std::size_t bytes) noexcept {
  buffers_.fetch_sub(bytes, std::memory_order_relaxed);
  release(bytes);
}

void evictor::run() noexcept {
  while (!is_over_.load()) {
    pollfd ready{wakes_.get(), POLLIN, 0};
    ::poll(&ready, 1, -1);
    std::uint64_t taken = 0;
    if (::read(wakes_.get(), &taken, sizeof taken) < 0 && errno == EBADF) return;
    while (has_to_evict() && !is_over_.load())
      if (!evict_some()) ::poll(nullptr, 0, pause);
    // Whoever comes after this wakes it again; who came before is seen now.
    is_awake_.exchange(false, std::memory_order_acq_rel);
    if (has_to_evict()) wake_up();
  }
}

// Of huge pages the pool may be short, whatever the limit.
void evictor::add(paged_region& region) {
  if (region.page_size() != page_size()) start_thread();
  const std::lock_guard lock(sweeping_);
  regions_.push_back(&region);
}

void evictor::remove(paged_region& region) noexcept {
  {
    const std::lock_guard lock(sweeping_);
    regions_.erase(std::remove(regions_.begin(), regions_.end(), &region), regions_.end());
    turn_ = 0;
  }
  region.wait_for_evictions();
}

// The region whose turn it is, with what was found there. Expects the lock.
paged_region* evictor::find(paged_region::finds& found, std::size_t looks,
                            std::size_t page) noexcept {
  // So many turns until any heat is tolerated.
  const auto most_ends = (page_word::most_heat + 1) * regions_.size();
  for (std::size_t ends = 0; ends < most_ends && looks != 0;) {
    auto& region = *regions_[turn_ % regions_.size()];
    const bool is_asked = page == any_page || page == region.page_size();
    const auto now = std::min(looks, is_asked ? looks_at_once : 1);
    looks -= now;
    if (!is_asked || !region.sweep(found, now)) {
      turn_ = (turn_ + 1) % regions_.size();
      ++ends;
    }
    if (found.bytes != 0) return &region;
  }
  return nullptr;
}

bool evictor::make_room(std::size_t bytes, std::size_t page) noexcept {
  if (!sweeping_.try_lock()) return false;
  paged_region::finds found;
  found.wanted = std::max(bytes, paged_region::finds::most * page_size());
  auto* const region = find(found, looks_for_room, page);
  if (region != nullptr) drop(*region, std::span(found.clean).first(found.clean_runs));
  sweeping_.unlock();
  return region != nullptr;
}

bool evictor::make_room_in_pool(std::size_t page) noexcept {
  if (make_room(page, page)) return true;
  lacking_.store(page, std::memory_order_relaxed);
  wake_up();
  return false;
}

paged_region* evictor::find_window(std::size_t bytes, page_run& found) noexcept {
  const auto most_ends = (page_word::most_heat + 1) * regions_.size();
  auto looks = looks_for_room;
  for (std::size_t ends = 0; ends < most_ends && looks != 0;) {
    auto& region = *regions_[turn_ % regions_.size()];
    if (region.has_windows_of(bytes) && region.sweep_windows(found, looks))
      return found.count != 0 ? &region : nullptr;
    turn_ = (turn_ + 1) % regions_.size();
    ++ends;
  }
  return nullptr;
}

bool evictor::take_window(page_range to, const handle& by) noexcept {
  if (!sweeping_.try_lock()) return false;
  page_run found;
  auto* const region = find_window(to.size(), found);
  if (region != nullptr) region->begin_eviction();
  sweeping_.unlock();
  if (region == nullptr) return false;
  const bool is_moved = region->move_away(found, to, by);
  region->end_eviction();
  return is_moved;
}

// Source and kernel are waited for without the lock: others find room meanwhile.
bool evictor::evict_some() noexcept {
  paged_region::finds found;
  found.wanted = page_table::pages_per_block * page_size();
  found.takes_dirty = true;
  paged_region* region = nullptr;
  {
    const std::lock_guard lock(sweeping_);
    region = find(found, looks_for_room, lacking_.exchange(any_page));
    if (region == nullptr) return false;
    region->begin_eviction();
  }
  drop(*region, std::span(found.clean).first(found.clean_runs));
  const auto written = write_back(*region, std::span(found.dirty).first(found.dirty_runs));
  drop(*region, written);
  region->end_eviction();
  return found.clean_runs != 0 || !written.empty();
}

// Those that could be written, at the begin of `runs`.
std::span<const page_run> evictor::write_back(paged_region& of, std::span<page_run> runs) noexcept {
  std::size_t done = 0;
  for (const auto run : runs) {
    if (const auto error = of.write_back(run, paging_state::leaving))
      of.note_error(error);
    else
      runs[done++] = run;
  }
  return runs.first(done);
}

void evictor::drop(paged_region& of, std::span<const page_run> runs) noexcept {
  auto done = advise(of, runs);
  for (const auto run : runs) {
    const bool is_gone = done >= run.count;
    done -= is_gone ? run.count : done;
    of.has_dropped(run, is_gone);
  }
}

// How many of the pages were dropped: the first so many.
std::size_t evictor::advise(paged_region& of, std::span<const page_run> runs) const noexcept {
  std::size_t pages = 0;
  if (of.is_shared()) {
    for (const auto run : runs) {
      if (!of.drop(run)) break;
      pages += run.count;
    }
    return pages;
  }
  bool is_refused = false;
  std::array<iovec, paged_region::finds::most> vectors{};
  if (runs.size() > 1 && self_ && takes_vectors_.load(std::memory_order_relaxed)) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const auto range = of.range_of(runs[i]);
      vectors[i] = {reinterpret_cast<void*>(range.begin()), range.size()};
    }
    const auto bytes =
        ::syscall(SYS_process_madvise, self_.get(), vectors.data(), runs.size(), MADV_DONTNEED, 0);
    if (bytes > 0) pages = static_cast<std::size_t>(bytes) / of.page_size();
    is_refused = bytes < 0 && (errno == EINVAL || errno == ENOSYS || errno == EPERM);
  }
  std::size_t before = 0;
  for (const auto run : runs) {
    before += run.count;
    if (before <= pages) continue;
    const auto range = of.range_of(run);
    if (::madvise(reinterpret_cast<void*>(range.begin()), range.size(), MADV_DONTNEED) != 0)
      return pages;
    pages = before;
  }
  // Each by itself could be dropped: it is the kernel that takes no vectors.
  if (is_refused) takes_vectors_.store(false, std::memory_order_relaxed);
  return pages;
}

}  // namespace uffd::detail
