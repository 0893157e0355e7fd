// SPDX-License-Identifier: MIT
#include "written_page_scan.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/error.hpp"
#include "uffd/flags.hpp"

namespace uffd::detail {
namespace {

open_options opened_by(open_options open) {
  open.required |= feature::wp_async;
  open.optional |=
      feature::pagefault_flag_wp | feature::wp_unpopulated | feature::wp_hugetlbfs_shmem;
  return open;
}

unique_fd open_pagemap() {
  unique_fd file(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!file) throw_errno(errno, "write_tracker: /proc/self/pagemap");
  return file;
}

}  // namespace

written_page_scan::written_page_scan(const open_options& open)
    : on_(handle::open(opened_by(open))), pagemap_(open_pagemap()) {}

// Some at the end of `into`, of which `count` are taken. What remains of `part`.
page_range written_page_scan::find_some(page_range part, std::span<page_range> into,
                                        std::size_t& count, bool protects) const {
  std::array<uapi::page_region, 256> found{};
  uapi::pagemap_scan scan{};
  scan.size = sizeof scan;
  scan.flags =
      uapi::pagemap::flag_check_wp_async | (protects ? uapi::pagemap::flag_wp_matching : 0);
  scan.start = part.begin();
  scan.end = part.end();
  scan.vector = page_range(std::span(found)).begin();
  scan.vector_length = std::min(found.size(), into.size() - count);
  scan.category_mask = uapi::pagemap::written;
  scan.return_mask = uapi::pagemap::written;
  const int runs = call_ioctl(pagemap_.get(), uapi::pagemap::scan, &scan);
  if (runs == -EPERM)
    throw_errno(EPERM, "tracked_memory " + to_string(part) + ": something else was mapped there");
  if (runs < 0) throw_errno(-runs, "tracked_memory " + to_string(part));
  // Of a huge page it protects all or nothing, and of some sizes nothing.
  if (runs == 0 && scan.walk_end <= part.begin())
    throw_errno(ENOTSUP, "tracked_memory " + to_string(part) +
                             ": this kernel can't protect a part of a page, nor huge pages of all"
                             " sizes");
  for (std::size_t i = 0; i < static_cast<std::size_t>(runs); ++i) {
    const auto run = range_between(found[i].start, found[i].end);
    // The kernel begins a new one where its buffer was full.
    if (count != 0 && into[count - 1].end() == run.begin())
      into[count - 1] = range_between(into[count - 1].begin(), run.end());
    else
      into[count++] = run;
  }
  return range_between(scan.walk_end, part.end());
}

written_pages written_page_scan::find(page_range part, std::span<page_range> into,
                                      bool protects) const {
  if (home_.in_child()) throw_errno(EOWNERDEAD, "tracked_memory: in a forked child");
  std::size_t count = 0;
  while (!part.empty() && count < into.size()) part = find_some(part, into, count, protects);
  return {into.first(count), part};
}

}  // namespace uffd::detail
