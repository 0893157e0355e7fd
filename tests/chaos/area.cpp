// SPDX-License-Identifier: MIT
#include "area.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <optional>
#include <system_error>

#include "support/requires.hpp"
#include "uffd/error.hpp"
#include "uffd/mapping.hpp"

namespace uffd::chaos {
namespace {

// Past the C library's functions, which ThreadSanitizer takes for writes to all of the memory.
// An int would come with anything in its upper half.
constexpr off_t from_its_begin = 0;

std::uintptr_t map_at(std::uintptr_t place, std::size_t size, int protection, int flags, int file) {
  const auto result = ::syscall(SYS_mmap, place, size, protection, flags, file, from_its_begin);
  if (result == -1) uffd::detail::throw_errno(errno, "mmap of a lane's memory");
  return static_cast<std::uintptr_t>(result);
}

constexpr int nothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

}  // namespace

void place::drop(std::uint32_t next) {
  is_known = is_mapped = may_vanish = is_protected = false;
  least = next;
  written = {};
}

area::area(test::memory_kind kind, std::size_t places)
    : kind_(kind), page_size_(test::page_size_of(kind)), places_(places) {
  reserved_size_ = (places + 1) * page_size_;
  reserved_ = map_at(0, reserved_size_, PROT_NONE, nothing, -1);
  begin_ = align_up(reserved_, page_size_);
}

area::~area() {
  for (std::size_t index = 0; index < size(); ++index)
    if (places_[index].used_for != place::use::lost) ::syscall(SYS_munmap, at(index), page_size_);
  ::syscall(SYS_munmap, reserved_, begin_ - reserved_);
  const auto end = at(size());
  ::syscall(SYS_munmap, end, reserved_ + reserved_size_ - end);
}

row area::like(std::size_t index, std::size_t most) const {
  const auto& first = places_[index];
  row found{index, 1};
  while (found.count < most && found.end() < size()) {
    const auto& next = places_[found.end()];
    if (next.used_for != first.used_for) break;
    const identity follows{first.whose.tag, first.whose.page + found.count};
    if (first.used_for != place::use::nothing && next.whose != follows) break;
    ++found.count;
  }
  return found;
}

bool area::all(row where, place::use used_for) const {
  for (auto index = where.first; index < where.end(); ++index)
    if (places_[index].used_for != used_for) return false;
  return true;
}

bool area::map(row where) const {
  const auto range = range_of(where);
  std::optional<mapping> file;
  int how = MAP_PRIVATE;
  try {
    switch (kind_) {
      case test::memory_kind::anonymous:
        how |= MAP_ANONYMOUS | MAP_NORESERVE;
        break;
      case test::memory_kind::huge:
        how |= MAP_ANONYMOUS | MAP_HUGETLB | std::countr_zero(page_size_) << MAP_HUGE_SHIFT;
        break;
      case test::memory_kind::shared_huge:
        file.emplace(mapping::shared_huge(range.size(), page_size_));
        how = MAP_SHARED;
        break;
      case test::memory_kind::shared:
        file.emplace(mapping::shared(range.size()));
        how = MAP_SHARED;
        break;
      case test::memory_kind::private_file:
        file.emplace(mapping::shared(range.size()));
        break;
    }
    map_at(range.begin(), range.size(), PROT_READ | PROT_WRITE, how | MAP_FIXED,
           file ? file->file() : -1);
  } catch (const std::system_error& error) {
    if (!test::is_huge(kind_) || error.code() != std::errc::not_enough_memory) throw;
    // What was there may be gone already.
    cover(where);
    return false;
  }
  return true;
}

void area::cover(row where) const {
  const auto range = range_of(where);
  map_at(range.begin(), range.size(), PROT_NONE, nothing | MAP_FIXED, -1);
}

void area::unmap(row where) const {
  const auto range = range_of(where);
  if (::syscall(SYS_munmap, range.begin(), range.size()) != 0)
    uffd::detail::throw_errno(errno, "munmap of a lane's memory");
}

int area::move(row from, std::size_t to, bool keep) const {
  const auto range = range_of(from);
  const int how = MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0);
  const auto moved = ::syscall(SYS_mremap, range.begin(), range.size(), range.size(), how, at(to));
  return moved == -1 ? errno : 0;
}

bool area::reserve(row where) const {
  const auto range = range_of(where);
  return ::syscall(SYS_mmap, range.begin(), range.size(), PROT_NONE, nothing | MAP_FIXED_NOREPLACE,
                   -1, from_its_begin) != -1;
}

}  // namespace uffd::chaos
