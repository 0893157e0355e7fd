// SPDX-License-Identifier: MIT
#include "uffd/tracking/write_tracker.hpp"

#include <cerrno>
#include <utility>

#include "uffd/error.hpp"
#include "written_page_scan.hpp"

namespace uffd {

tracked_memory::tracked_memory(std::shared_ptr<detail::written_page_scan> by,
                               region registered) noexcept
    : by_(std::move(by)), region_(std::move(registered)) {
  region_.complete();
}

written_pages tracked_memory::scan(page_range part, std::span<page_range> into,
                                   bool begins_anew) const {
  if (into.empty() || !range().contains(part) || !part.is_aligned(page_size()))
    detail::throw_errno(EINVAL, "tracked_memory " + to_string(part) + " of " + to_string(range()));
  return by_->find(part, into, begins_anew);
}

write_tracker::write_tracker(const open_options& open)
    : by_(std::make_shared<detail::written_page_scan>(open)) {}

tracked_memory write_tracker::track(page_range memory, std::size_t page) const {
  region registered(by_->on(), memory, register_mode::write_protect, page);
  tracked_memory tracked(by_, std::move(registered));
  outcome done;
  do done = by_->on().write_protect(memory);
  while (done.error() == condition::retry);
  if (!done) throw std::system_error(done.error(), "write_tracker::track " + to_string(memory));
  return tracked;
}

}  // namespace uffd
