// SPDX-License-Identifier: MIT
#include "tracking/synchronous_tracking.hpp"

#include <sched.h>

#include <cerrno>
#include <string>
#include <utility>

#include "detail/unmerged.hpp"
#include "tracking/anonymous_memory.hpp"
#include "tracking/written_page_collector.hpp"
#include "uffd/error.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/region_info.hpp"
#include "uffd/served_region.hpp"

namespace uffd::detail {
namespace {

// Each memory brings a callback of its own.
resolution serve_nothing(fault& /*raised*/) { return std::errc::invalid_argument; }

shared_write_callback shared(write_callback before_write) {
  if (!before_write) return nullptr;
  return std::make_shared<const write_callback>(std::move(before_write));
}

bool is_on_one_cpu() noexcept {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) == 1;
}

// A callback whose page was dropped waits for another thread. A system call that meets a protected
// page would fail.
fault_handler_options served_by(const open_options& open) {
  fault_handler_options how;
  if (is_on_one_cpu()) how.threads = 2;
  how.forks = fork_policy::not_inherited;
  how.open = open;
  how.open.required |= synchronous_tracking::needed;
  how.open.optional |= feature::wp_hugetlbfs_shmem;
  how.open.optional -= feature::wp_unpopulated | feature::wp_async;
  if (how.open.kernel_faults == kernel_fault_policy::if_permitted)
    how.open.kernel_faults = kernel_fault_policy::required;
  return how;
}

// With the first of these, what was never touched could not be told from what was; with the second
// the handler would never hear of a write.
std::shared_ptr<fault_handler> checked(std::shared_ptr<fault_handler> by) {
  const auto has = by->on().features();
  const auto unwanted = has & (feature::wp_unpopulated | feature::wp_async);
  const auto lacking = synchronous_tracking::needed - has;
  if (!unwanted.empty())
    throw_errno(EINVAL, "write_tracker: a handler's handle must not have " + to_string(unwanted));
  if (!lacking.empty())
    throw_errno(EINVAL, "write_tracker: the handler's handle lacks " + to_string(lacking));
  return by;
}

class served_memory final : public memory_tracking {
 public:
  served_memory(std::shared_ptr<fault_handler> by, served_region served,
                std::shared_ptr<trapped_writes> trapped, bool finds_dropped)
      : by_(std::move(by)),
        served_(std::move(served)),
        collector_(std::move(trapped), finds_dropped) {
    served_.complete();  // what is missing is zero, whatever a handler's stop does to others
    collector_.begin();
  }

  written_pages find(page_range part, std::span<page_range> into, bool begins_anew) override {
    return collector_.find(part, into, begins_anew);
  }

 private:
  std::shared_ptr<fault_handler> by_;
  served_region served_;
  written_page_collector collector_;
};

}  // namespace

synchronous_tracking::synchronous_tracking(const open_options& open, write_callback before_write)
    : by_(checked(std::make_shared<fault_handler>(&serve_nothing, served_by(open)))),
      before_write_(shared(std::move(before_write))) {}

synchronous_tracking::synchronous_tracking(fault_handler& by, write_callback before_write)
    : by_(checked(std::shared_ptr<fault_handler>(std::shared_ptr<void>(), &by))),
      before_write_(shared(std::move(before_write))) {}

// A write to anonymous memory that has no page there is no fault of write protection.
std::shared_ptr<memory_tracking> synchronous_tracking::track(page_range memory, std::size_t page) {
  const bool can_miss = is_anonymous(memory);
  serve_options how;
  how.modes = register_mode::write_protect;
  if (can_miss) how.modes |= register_mode::missing;
  how.page_size = page;
  how.on_end = close_policy::leave_zero;
  check_alignment({memory, page, how.modes, {}, 0});
  if (can_miss && page != page_size())
    throw_errno(EINVAL, "write_tracker::track " + to_string(memory) +
                            ": pages of anonymous memory have " + std::to_string(page_size()) +
                            " bytes, not " + std::to_string(page));
  auto trapped = std::make_shared<trapped_writes>(handle_access::share(by_->on()), memory, page,
                                                  before_write_);
  auto served = by_->serve(memory, trapping_client(trapped), how);
  keep_unmerged(memory);
  return std::make_shared<served_memory>(by_, std::move(served), std::move(trapped), can_miss);
}

}  // namespace uffd::detail
