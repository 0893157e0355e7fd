// SPDX-License-Identifier: MIT
// Memory that promises more huge pages than there are, without taking them from other tests.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "uffd/error.hpp"
#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::test {

// `pages` huge pages of a file, in a file system of its own that has room for one.
class few_huge_pages {
 public:
  // `sharing` is MAP_PRIVATE or MAP_SHARED.
  few_huge_pages(int sharing, std::size_t pages) : file_(file_with_room_for_one()) {
    const auto bytes = pages * huge_page_size;
    check(::ftruncate(file_.get(), static_cast<off_t>(bytes)), "ftruncate");
    void* const mapped =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, sharing | MAP_NORESERVE, file_.get(), 0);
    if (mapped == MAP_FAILED) uffd::detail::throw_errno(errno, "mmap of huge pages");
    range_ = {reinterpret_cast<std::uintptr_t>(mapped), bytes};
  }
  few_huge_pages(const few_huge_pages&) = delete;
  few_huge_pages& operator=(const few_huge_pages&) = delete;
  ~few_huge_pages() { ::munmap(reinterpret_cast<void*>(range_.begin()), range_.size()); }

  page_range range() const { return range_; }
  std::uintptr_t at(std::size_t index) const { return range_.begin() + index * huge_page_size; }

 private:
  static void check(long result, const char* what) {
    if (result < 0) uffd::detail::throw_errno(errno, what);
  }
  static unique_fd file_with_room_for_one() {
    constexpr int set_string = 1;
    constexpr int create = 6;
    const unique_fd system(static_cast<int>(::syscall(SYS_fsopen, "hugetlbfs", 0)));
    check(system.get(), "fsopen");
    const auto set = [&](const char* key, const char* value) {
      check(::syscall(SYS_fsconfig, system.get(), set_string, key, value, 0), key);
    };
    set("pagesize", "2M");
    set("size", "2M");
    check(::syscall(SYS_fsconfig, system.get(), create, nullptr, nullptr, 0), "fsconfig");
    const unique_fd root(static_cast<int>(::syscall(SYS_fsmount, system.get(), 0, 0)));
    check(root.get(), "fsmount");
    unique_fd file(::openat(root.get(), "pages", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    check(file.get(), "openat");
    return file;
  }

  unique_fd file_;
  page_range range_;
};

// UFFDPP_REQUIRE(test::few_huge_pages_can_be_made());
inline std::string few_huge_pages_can_be_made() {
  auto lacking = available(memory_kind::huge, 1);
  if (lacking.empty()) lacking = root();
  return lacking;
}

}  // namespace uffd::test
