// SPDX-License-Identifier: MIT
#include "tracking/event_barrier.hpp"

#include <sys/mman.h>

#include "uffd/callbacks.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/fault_handler_options.hpp"

namespace uffd::detail {

event_barrier::event_barrier(fault_handler& by)
    : page_(mapping::anonymous(uffd::page_size())),
      heard_(std::make_shared<std::atomic<std::uint32_t>>(0)),
      region_(
          by.serve(page_.range(),
                   overloaded{[](fault& raised) { return raised.unprotect(); },
                              [heard = heard_](const remove_event&) { ++*heard; }},
                   {.modes = register_mode::write_protect, .on_end = close_policy::leave_zero})) {}

bool event_barrier::pass() const noexcept {
  const auto before = heard_->load();
  ::madvise(page_.bytes().data(), page_.bytes().size(), MADV_DONTNEED);
  patience left;
  while (heard_->load() == before)
    if (!left.wait()) return false;
  return true;
}

}  // namespace uffd::detail
