// SPDX-License-Identifier: MIT
#include "pager/page_backing.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "detail/unmerged.hpp"
#include "uffd/error.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {
namespace {

std::size_t default_huge_page_size() {
  const unique_fd file(::memfd_create("uffd", MFD_CLOEXEC | MFD_HUGETLB));
  struct stat is {};
  if (file && ::fstat(file.get(), &is) == 0) return static_cast<std::size_t>(is.st_blksize);
  const bool is_lacking = errno == EINVAL || errno == ENODEV || errno == ENOSYS;
  throw_errno(is_lacking ? ENOTSUP : errno, "pager::map: the size of this kernel's huge pages");
}

void need(flags<feature> has, feature needed, const char* why) {
  if (!has.has(needed)) throw_errno(ENOTSUP, std::string("pager::map: ") + why);
}

void check_huge(const map_options& options, flags<feature> has, std::size_t largest_page) {
  need(has, feature::missing_hugetlbfs,
       "page_backing::huge needs a handle with feature::missing_hugetlbfs (Linux 4.11)");
  if (options.writes != write_policy::none)
    need(has, feature::wp_hugetlbfs_shmem,
         "page_backing::huge that is written needs a handle with feature::wp_hugetlbfs_shmem "
         "(Linux 5.19)");
  const auto page = page_size_of(options);
  if (page <= page_size())
    throw_errno(EINVAL, "pager::map: " + std::to_string(page) + " bytes is no size of a huge page");
  if (page > largest_page)
    throw_errno(EINVAL, "pager::map: huge pages of " + std::to_string(page) +
                            " bytes are more than this budget lets it hold at once, which is " +
                            std::to_string(largest_page));
}

// mlockall(2) may have filled it already. What is there would never be asked for.
void empty(const mapping& memory) {
  const auto all = memory.bytes();
  ::munlock(all.data(), all.size());
  // Of shared memory the file, too.
  const int how = memory.file() < 0 ? MADV_DONTNEED : MADV_REMOVE;
  if (::madvise(all.data(), all.size(), how) != 0 && memory.page_size() != page_size())
    throw_errno(ENOTSUP,
                "pager::map: page_backing::huge needs MADV_DONTNEED of huge pages (Linux 5.18)");
}

// Who is given it can't change its size, nor write to it if he is another user.
void seal(int file) {
  if (::fchmod(file, S_IRUSR) != 0 ||
      ::fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    throw_errno(errno, "pager::map: the file of shared pages");
}

mapping make_memory(std::size_t bytes, const map_options& options) {
  switch (options.backing) {
    case page_backing::shared:
      return mapping::shared(bytes);
    case page_backing::huge:
      return mapping::huge_unreserved(bytes, page_size_of(options));
    default:
      return mapping::anonymous(bytes);
  }
}

}  // namespace

std::size_t page_size_of(const map_options& options) {
  if (options.backing != page_backing::huge) return page_size();
  return options.huge_page != 0 ? options.huge_page : default_huge_page_size();
}

void check_backing(const map_options& options, flags<feature> has, std::size_t largest_page) {
  if (options.backing == page_backing::huge) return check_huge(options, has, largest_page);
  if (options.huge_page != 0)
    throw_errno(EINVAL, "pager::map: map_options::huge_page is for page_backing::huge");
  if (options.backing != page_backing::shared) return;
  if (options.writes != write_policy::none)
    throw_errno(EINVAL, "pager::map: page_backing::shared can't be written");
  need(has, feature::minor_shmem,
       "page_backing::shared needs a handle with feature::minor_shmem (Linux 5.14)");
}

mapping make_backing(std::uint64_t bytes, const map_options& options, const spare_windows* spare) {
  // Windows lie where huge pages do.
  const auto more = spare != nullptr ? spare->window_bytes() : 0;
  auto memory = make_memory(static_cast<std::size_t>(bytes) + more, options);
  memory.keep_from_children();
  const auto all = memory.bytes();
  empty(memory);
  if (memory.file() >= 0) seal(memory.file());
  if (options.writes == write_policy::none && spare == nullptr &&
      ::mprotect(all.data(), all.size(), PROT_READ) != 0)
    throw_errno(errno, "pager::map: mprotect");
  keep_unmerged(memory.range());
  // A page that is filled must not bring its neighbours along. But where huge pages are moved to,
  // no page table must be in their way: a fault makes one that it does not expect a huge page for.
  const bool is_huge = spare != nullptr && spare->are_huge_pages();
  ::madvise(all.data(), all.size(), is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return memory;
}

page_range pages_in(const mapping& memory, std::uint64_t bytes, const spare_windows* spare) {
  const auto unit = spare != nullptr ? spare->window_bytes() : memory.page_size();
  return {align_up(memory.range().begin(), unit),
          align_up(static_cast<std::size_t>(bytes), memory.page_size())};
}

}  // namespace uffd::detail
