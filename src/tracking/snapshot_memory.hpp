// SPDX-License-Identifier: MIT
// The memory of a snapshotter: what is known of its pages, and what a write to one sets off.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "detail/grace_period.hpp"
#include "tracking/memory_reader.hpp"
#include "tracking/page_map.hpp"
#include "tracking/page_states.hpp"
#include "tracking/paged_area.hpp"
#include "tracking/pre_image_buffers.hpp"
#include "tracking/waiting_writers.hpp"
#include "uffd/fault.hpp"
#include "uffd/handle.hpp"
#include "uffd/message.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

// What is mapped in an area.
enum class backing {
  anonymous,     // a page that was never touched bears no mark
  page_cache,    // shared or of huge pages: what isn't mapped may be in the page cache
  private_file,  // small pages of a file's, or their own copies
  paged,         // what a pager serves, which protects pages, too: their marks say nothing
};

struct saved_area {
  saved_area(std::size_t number, page_range where, std::size_t bytes, backing what)
      : index(number), range(where), page_size(bytes), kind(what), pages(where.size() / bytes) {}

  page_range page(std::size_t first, std::size_t count = 1) const noexcept {
    return {range.begin() + first * page_size, count * page_size};
  }
  std::size_t first_page_of(page_range part) const noexcept {
    return (part.begin() - range.begin()) / page_size;
  }
  std::size_t end_page_of(page_range part) const noexcept {
    return (part.end() - range.begin() + page_size - 1) / page_size;
  }

  const std::size_t index;
  const page_range range;
  const std::size_t page_size;
  const backing kind;
  paged_area* by_pager = nullptr;  // of a paged one
  page_states pages;
  pre_image_buffers* buffers = nullptr;
};

// Why a snapshot can't become one.
struct snapshot_failure {
  std::error_code error;
  const char* what = "";
  page_range where;
};

class snapshot_memory {
 public:
  // `extra` bytes of buffers for pages before a write. Throws std::system_error.
  snapshot_memory(const handle& on, std::span<const region_info> areas,
                  std::span<const backing> kinds, std::size_t extra, page_lookup lookup);

  std::vector<std::unique_ptr<saved_area>>& areas() noexcept { return areas_; }
  std::vector<std::unique_ptr<pre_image_buffers>>& buffers() noexcept { return buffers_; }
  const page_map& map() const noexcept { return map_; }
  const handle& on() const noexcept { return on_; }
  std::size_t bytes() const noexcept;
  std::size_t largest_page() const noexcept;

  // Callbacks: a write to a protected page; to one of a pager, which is not as in its source, or
  // is, with a fault or without; memory dropped.
  resolution on_write(saved_area& area, fault& raised) noexcept;
  resolution on_write(saved_area& area, std::size_t page, bool is_as_in_source,
                      fault* raised) noexcept;
  void on_remove(saved_area& area, page_range dropped) noexcept;

  // The stages of a snapshot, one after the other. First, what is pending may be written all the
  // same, and is dirty then.
  void begin() noexcept;
  // At the moment: from here on no write to a protected page goes on, and none is under way,
  void pause() noexcept { enter(stage::pausing); }
  // and from here on what is pending is saved before it is written, unless it has failed.
  void save() noexcept;
  // What is to be saved was: who was about to wait for it goes on, and nobody waits any more.
  void let_nobody_wait() noexcept;
  // After this nothing is pending, nobody waits, and `owed` says what the next one needs.
  void end(bool is_complete) noexcept;
  bool is_saving() const noexcept {
    return stage_.load(std::memory_order_acquire) == stage::saving;
  }
  // The first failure counts; from then on nothing is pending. Who waits does so until the next
  // two.
  void fail(const snapshot_failure& why) noexcept;
  bool has_failed() const noexcept { return has_failed_.load(std::memory_order_acquire); }
  snapshot_failure failure() const noexcept;

  // Copies pages that somebody has claimed. False if they could not be saved as they were at the
  // moment; then it has failed.
  bool copy(const saved_area& area, std::size_t first, std::size_t count,
            std::span<std::byte> into) noexcept;
  // Whether nobody has written or dropped them since the moment; else it has failed.
  bool check(const saved_area& area, std::size_t first, std::size_t count) noexcept;
  // Lets a writer that waits go on.
  void let_through(waiting_writer& writer) noexcept;
  std::optional<waiting_writer> next_waiting() noexcept { return waiting_.take(); }
  void note_wait(std::int64_t since) noexcept;

  // For whoever saves: sleeps until there may be something new after what it saw.
  std::uint32_t news() const noexcept { return news_.load(std::memory_order_acquire); }
  void wait_for_news(std::uint32_t seen) const noexcept { news_.wait(seen); }
  void tell_news() noexcept {
    news_.fetch_add(1, std::memory_order_acq_rel);
    news_.notify_all();
  }

  std::size_t pre_images() const noexcept { return pre_images_.load(std::memory_order_relaxed); }
  std::int64_t longest_wait() const noexcept {
    return longest_wait_.load(std::memory_order_relaxed);
  }

 private:
  enum class stage : std::uint8_t { resting, pausing, saving };

  void enter(stage next) noexcept;
  template <class Unprotect, class Wait>
  resolution let_write(saved_area& area, std::size_t page, bool is_in_source, Unprotect&& unprotect,
                       Wait&& wait) noexcept;
  bool save_first(saved_area& area, std::size_t page) noexcept;
  bool is_there(const saved_area& area, std::size_t first, std::size_t count) noexcept;
  void forget_pending() noexcept;
  void let_all_through() noexcept;

  grace_period writes_under_way_;  // in on_write()
  handle on_;
  page_map map_;
  memory_reader reader_;
  std::vector<std::unique_ptr<saved_area>> areas_;
  std::vector<std::unique_ptr<pre_image_buffers>> buffers_;
  waiting_writers waiting_;
  std::atomic<stage> stage_{stage::resting};
  std::atomic<bool> has_failed_{false};
  std::atomic<std::uint32_t> news_{0};
  std::atomic<std::size_t> pre_images_{0};
  std::atomic<std::int64_t> longest_wait_{0};
  mutable std::mutex failure_lock_;
  snapshot_failure failure_;
};

}  // namespace uffd::detail
