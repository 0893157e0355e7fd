// SPDX-License-Identifier: MIT
#include "tracking/page_map.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/error.hpp"
#include "uffd/mapping.hpp"
#include "uffd/region.hpp"

namespace uffd::detail {
namespace {

// A page with a mark on it, to see whether the kernel tells.
class marked_page {
 public:
  explicit marked_page(const handle& on)
      : page_(mapping::anonymous(uffd::page_size())),
        region_((page_.bytes().front() = std::byte{1}, on), page_, register_mode::write_protect) {
    region_.complete();
    outcome done;
    do done = on.write_protect(page_.range());
    while (done.error() == condition::retry);
    if (!done) throw std::system_error(done.error(), "snapshotter: write-protecting a page");
  }
  page_range range() const noexcept { return page_.range(); }

 private:
  mapping page_;
  region region_;
};

mapped_run run_of(page_range range, std::uint64_t categories) noexcept {
  mapped_run run{range};
  run.is_present = (categories & uapi::pagemap::present) != 0;
  run.is_there = (categories & (uapi::pagemap::present | uapi::pagemap::swapped)) != 0;
  run.is_marked = run.is_there && (categories & uapi::pagemap::written) == 0;
  return run;
}

// Bits of an entry of /proc/PID/pagemap.
mapped_run run_of_entry(page_range page, std::uint64_t entry) noexcept {
  mapped_run run{page};
  run.is_present = (entry >> 63) != 0;
  run.is_marked = ((entry >> 57) & 1) != 0;
  // A hole that bears a mark is told as swapped by PAGEMAP_SCAN, and here not always.
  run.is_there = (entry >> 62) != 0 || run.is_marked;
  return run;
}

}  // namespace

page_map::page_map(const handle& on, page_lookup most)
    : wants_marks_(most != page_lookup::entries_without_marks),
      pagemap_(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {
  if (!pagemap_) throw_errno(errno, "snapshotter: /proc/self/pagemap");
  const marked_page page(on);
  std::array<mapped_run, 1> found;
  std::size_t count = 0;
  auto rest = page.range();
  has_scan_ = most == page_lookup::scan && scan(rest, found, count) == 0;
  rest = page.range();
  if (!has_scan_)
    if (const int number = read(rest, found, count); number != 0)
      throw_errno(number, "snapshotter: /proc/self/pagemap");
  tells_marks_ = found.front().is_marked;
}

// The kernel leaves out what isn't mapped.
int page_map::scan(page_range& rest, std::span<mapped_run> into,
                   std::size_t& count) const noexcept {
  std::array<uapi::page_region, 128> found{};
  uapi::pagemap_scan scan{};
  scan.size = sizeof scan;
  scan.start = rest.begin();
  scan.end = rest.end();
  scan.vector = page_range(std::span(found)).begin();
  scan.vector_length = std::min(found.size(), (into.size() + 1) / 2);
  scan.return_mask = uapi::pagemap::present | uapi::pagemap::swapped | uapi::pagemap::written;
  const int regions = call_ioctl(pagemap_.get(), uapi::pagemap::scan, &scan);
  if (regions < 0) return -regions;
  const auto full = static_cast<std::size_t>(regions) == scan.vector_length;
  auto position = rest.begin();
  for (std::size_t i = 0; i < static_cast<std::size_t>(regions); ++i) {
    if (found[i].start > position && count < into.size())
      into[count++] = mapped_run{range_between(position, found[i].start)};
    const auto range = range_between(found[i].start, found[i].end);
    if (count < into.size()) into[count++] = run_of(range, found[i].categories);
    position = range.end();
  }
  if (!full && position < rest.end() && count < into.size()) {
    into[count++] = mapped_run{range_between(position, rest.end())};
    position = rest.end();
  }
  rest = range_between(position, rest.end());
  return 0;
}

int page_map::read(page_range& rest, std::span<mapped_run> into,
                   std::size_t& count) const noexcept {
  std::array<std::uint64_t, 256> entries{};
  const auto page = uffd::page_size();
  const auto wanted = std::min({entries.size(), into.size(), rest.size() / page});
  const auto got = ::pread(pagemap_.get(), entries.data(), wanted * sizeof entries.front(),
                           static_cast<off_t>(rest.begin() / page * sizeof entries.front()));
  if (got < 0) return errno;
  const auto pages = static_cast<std::size_t>(got) / sizeof entries.front();
  if (pages == 0) return EFAULT;
  for (std::size_t i = 0; i < pages; ++i) {
    auto next = run_of_entry({rest.begin() + i * page, page}, entries[i]);
    next.is_marked = next.is_marked && wants_marks_;
    auto* const last = count != 0 ? &into[count - 1] : nullptr;
    if (last != nullptr && last->is_present == next.is_present && last->is_there == next.is_there &&
        last->is_marked == next.is_marked)
      last->range = range_between(last->range.begin(), next.range.end());
    else
      into[count++] = next;
  }
  rest = range_between(rest.begin() + pages * page, rest.end());
  return 0;
}

}  // namespace uffd::detail
