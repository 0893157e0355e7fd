// SPDX-License-Identifier: MIT
// What the kernel tells of single pages: /proc/PID/pagemap. Allocates nothing.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "support/requires.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/error.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::test {

inline unique_fd open_pagemap(pid_t process = ::getpid()) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/pagemap", process);
  unique_fd pagemap(::open(path, O_RDONLY | O_CLOEXEC));
  if (!pagemap) uffd::detail::throw_errno(errno, "/proc/PID/pagemap");
  return pagemap;
}

// What /proc/PID/pagemap has for the page.
inline std::uint64_t pagemap_entry(std::uintptr_t address, pid_t process = ::getpid()) {
  std::uint64_t entry = 0;
  const auto at = static_cast<off_t>(address / page_size() * sizeof entry);
  if (::pread(open_pagemap(process).get(), &entry, sizeof entry, at) != sizeof entry)
    uffd::detail::throw_errno(errno, "reading /proc/PID/pagemap");
  return entry;
}

inline bool has_flag(std::uintptr_t address, unsigned bit) {
  return ((pagemap_entry(address) >> bit) & 1) != 0;
}

// Whether the page bears the write-protect (or, from Linux 7.3 on, read-write-protect) mark of
// userfaultfd; so does a marker on a page that is missing.
inline bool is_marked(std::uintptr_t address) { return has_flag(address, 57); }

// Whether is_marked() can tell, as from Linux 5.14 on: UFFDPP_REQUIRE(test::told_marks()).
inline std::string told_marks() {
  static const bool told = [] {
    if (!kernel_has(feature::pagefault_flag_wp).empty()) return false;
    const auto on = handle::open({.required = feature::pagefault_flag_wp});
    const auto one = mapping::anonymous(page_size());
    one.bytes().front() = std::byte{1};
    on.register_range(one.range(), register_mode::write_protect);
    return on.write_protect(one.range()) && is_marked(one.range().begin());
  }();
  return told ? "" : "this kernel's pagemap tells of no marks";
}

// Whether a page is there, in memory or swapped out.
inline bool is_there(std::uintptr_t address, pid_t process = ::getpid()) {
  return pagemap_entry(address, process) >> 62 != 0;
}

// Some kernels forget private huge pages at some forks, with userfaultfd or without: where the
// entry of such a page is in a page table of the lowest level, as with pages of 16 KiB on arm64,
// and that table once was something else. The child has nothing there. What can't be known before
// the fork is asked after it: UFFDPP_REQUIRE(test::inherited(address, child)).
inline constexpr const char* forgetful_fork = "this kernel's fork forgets private huge pages";
inline std::string inherited(std::uintptr_t address, pid_t child) {
  return is_there(address, child) ? "" : forgetful_fork;
}

// Whether what is mapped there is mapped nowhere else.
inline bool is_exclusive(std::uintptr_t address) { return has_flag(address, 56); }

// How many bytes of the range PAGEMAP_SCAN finds to be of all these categories (uapi::pagemap).
// Requires pagemap_scan().
inline std::size_t bytes_with(page_range range, std::uint64_t categories,
                              std::uint64_t inverted = 0) {
  uapi::page_region found{};
  uapi::pagemap_scan scan{};
  scan.size = sizeof scan;
  scan.start = range.begin();
  scan.end = range.end();
  scan.vector = reinterpret_cast<std::uintptr_t>(&found);
  scan.vector_length = 1;
  scan.category_inverted = inverted;
  scan.category_mask = categories;
  scan.return_mask = categories;
  std::size_t bytes = 0;
  const auto pagemap = open_pagemap();
  while (scan.start < scan.end) {
    const int count = uffd::detail::call_ioctl(pagemap.get(), uapi::pagemap::scan, &scan);
    if (count < 0) uffd::detail::throw_errno(-count, "PAGEMAP_SCAN");
    if (count == 0) break;
    bytes += found.end - found.start;
    scan.start = scan.walk_end;
  }
  return bytes;
}

// Whether all of the range is mapped by huge pages, transparent ones or others.
inline bool is_huge_mapped(page_range range) {
  return bytes_with(range, uapi::pagemap::huge) == range.size();
}

}  // namespace uffd::test
