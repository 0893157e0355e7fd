// SPDX-License-Identifier: MIT
#include "uffd/tracking/write_tracker.hpp"

#include <cerrno>
#include <utility>

#include "tracking/asynchronous_tracking.hpp"
#include "tracking/synchronous_tracking.hpp"
#include "tracking/tracking.hpp"
#include "uffd/error.hpp"

namespace uffd {
namespace {

flags<feature> lacking(flags<feature> needed, const open_options& open) {
  return needed - detail::available_features(open.kernel_faults, open.via);
}

void check(flags<feature> needed, const open_options& open) {
  if (const auto missing = lacking(needed, open); !missing.empty())
    detail::throw_errno(ENOTSUP, "write_tracker: this kernel lacks " + to_string(missing));
}

tracker_engine chosen(tracker_engine engine, const open_options& open) {
  using detail::asynchronous_tracking;
  if (engine != tracker_engine::automatic) return engine;
  return lacking(asynchronous_tracking::needed, open).empty() ? tracker_engine::asynchronous
                                                              : tracker_engine::synchronous;
}

std::shared_ptr<detail::tracking_engine> make_engine(tracker_engine engine,
                                                     const open_options& open) {
  if (engine == tracker_engine::asynchronous) {
    check(detail::asynchronous_tracking::needed, open);
    return std::make_shared<detail::asynchronous_tracking>(open);
  }
  check(detail::synchronous_tracking::needed, open);
  return std::make_shared<detail::synchronous_tracking>(open, nullptr);
}

}  // namespace

tracked_memory::tracked_memory(std::shared_ptr<detail::memory_tracking> by, page_range memory,
                               std::size_t page) noexcept
    : by_(std::move(by)), range_(memory), page_size_(page) {}

written_pages tracked_memory::find(page_range part, std::span<page_range> into,
                                   bool begins_anew) const {
  if (into.empty() || !range().contains(part) || !part.is_aligned(page_size()))
    detail::throw_errno(EINVAL, "tracked_memory " + to_string(part) + " of " + to_string(range()));
  return by_->find(part, into, begins_anew);
}

write_tracker::write_tracker(tracker_engine engine, const open_options& open)
    : engine_(chosen(engine, open)), by_(make_engine(engine_, open)) {}

write_tracker::write_tracker(std::function<void(page_range)> before_write, const open_options& open)
    : engine_(tracker_engine::synchronous) {
  check(detail::synchronous_tracking::needed, open);
  by_ = std::make_shared<detail::synchronous_tracking>(open, std::move(before_write));
}

write_tracker::write_tracker(fault_handler& by, std::function<void(page_range)> before_write)
    : engine_(tracker_engine::synchronous),
      by_(std::make_shared<detail::synchronous_tracking>(by, std::move(before_write))) {}

tracked_memory write_tracker::track(page_range memory, std::size_t page) const {
  return {by_->track(memory, page), memory, page};
}

}  // namespace uffd
