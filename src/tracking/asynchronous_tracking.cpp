// SPDX-License-Identifier: MIT
#include "tracking/asynchronous_tracking.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "tracking/found_pages.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/error.hpp"
#include "uffd/handle.hpp"
#include "uffd/region.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

// What all memory of an engine has in common.
class written_page_scan {
 public:
  explicit written_page_scan(const open_options& open);

  const handle& on() const noexcept { return on_; }
  written_pages find(page_range part, std::span<page_range> into, bool protects) const;

 private:
  int find_some(page_range& part, found_pages& found, bool protects) const;

  process_mark home_ = process_mark::here();
  handle on_;
  unique_fd pagemap_;
};

namespace {

constexpr int nothing_done = -1;  // no errno

open_options opened_by(open_options open) {
  open.required |= asynchronous_tracking::needed;
  open.optional |=
      feature::pagefault_flag_wp | feature::wp_unpopulated | feature::wp_hugetlbfs_shmem;
  return open;
}

unique_fd open_pagemap() {
  unique_fd file(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!file) throw_errno(errno, "write_tracker: /proc/self/pagemap");
  return file;
}

[[noreturn]] void refuse(int number, page_range part) {
  const auto what = "tracked_memory " + to_string(part);
  if (number == EPERM) throw_errno(EPERM, what + ": something else was mapped there");
  // Of a huge page it protects all or nothing, and of some sizes nothing.
  if (number == nothing_done)
    throw_errno(ENOTSUP,
                what + ": this kernel can't protect a part of a page, nor huge pages of all sizes");
  throw_errno(number, what);
}

class scanned_memory final : public memory_tracking {
 public:
  scanned_memory(std::shared_ptr<written_page_scan> by, region registered)
      : by_(std::move(by)), region_(std::move(registered)) {
    region_.complete();
  }

  written_pages find(page_range part, std::span<page_range> into, bool begins_anew) override {
    return by_->find(part, into, begins_anew);
  }

 private:
  std::shared_ptr<written_page_scan> by_;
  region region_;
};

}  // namespace

written_page_scan::written_page_scan(const open_options& open)
    : on_(handle::open(opened_by(open))), pagemap_(open_pagemap()) {}

// Finds some and takes what was looked at off `part`. Answers 0 or an errno.
int written_page_scan::find_some(page_range& part, found_pages& found, bool protects) const {
  std::array<uapi::page_region, 256> runs{};
  uapi::pagemap_scan scan{};
  scan.size = sizeof scan;
  scan.flags =
      uapi::pagemap::flag_check_wp_async | (protects ? uapi::pagemap::flag_wp_matching : 0);
  scan.start = part.begin();
  scan.end = part.end();
  scan.vector = page_range(std::span(runs)).begin();
  scan.vector_length = std::min(runs.size(), found.room());
  scan.category_mask = uapi::pagemap::written;
  scan.return_mask = uapi::pagemap::written;
  const int count = call_ioctl(pagemap_.get(), uapi::pagemap::scan, &scan);
  // Of an error, too, the kernel writes what it had found, and protected, but not how much it is.
  auto end = part.begin();
  for (const auto& run : runs) {
    if (run.end == run.start) break;
    found.add(range_between(run.start, run.end));
    end = run.end;
  }
  if (count >= 0) end = scan.walk_end;
  const bool nothing = end <= part.begin();
  if (!nothing) part = range_between(end, part.end());
  if (count < 0) return -count;
  return nothing ? nothing_done : 0;
}

written_pages written_page_scan::find(page_range part, std::span<page_range> into,
                                      bool protects) const {
  if (home_.in_child()) throw_errno(EOWNERDEAD, "tracked_memory: in a forked child");
  found_pages found(into);
  while (!part.empty() && found.room() != 0) {
    const int number = find_some(part, found, protects);
    if (number == 0) continue;
    if (found.empty()) refuse(number, part);
    break;
  }
  return {found.all(), part};
}

asynchronous_tracking::asynchronous_tracking(const open_options& open)
    : by_(std::make_shared<written_page_scan>(open)) {}

std::shared_ptr<memory_tracking> asynchronous_tracking::track(page_range memory, std::size_t page) {
  region registered(by_->on(), memory, register_mode::write_protect, page);
  auto tracked = std::make_shared<scanned_memory>(by_, std::move(registered));
  outcome done;
  do done = by_->on().write_protect(memory);
  while (done.error() == condition::retry);
  if (!done) throw std::system_error(done.error(), "write_tracker::track " + to_string(memory));
  return tracked;
}

}  // namespace uffd::detail
