// SPDX-License-Identifier: MIT
// Tracking by faults: a handler's threads let each first write through, and note it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "tracking/tracking.hpp"
#include "tracking/trapped_writes.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/flags.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {

class synchronous_tracking final : public tracking_engine {
 public:
  // What the kernel must have for it.
  static constexpr flags<feature> needed = feature::pagefault_flag_wp;

  // Has a handler of its own. `before_write` may be empty. Throws std::system_error.
  synchronous_tracking(const open_options& open, write_callback before_write);
  // Uses somebody's, which must outlive what is tracked.
  synchronous_tracking(fault_handler& by, write_callback before_write);

  std::shared_ptr<memory_tracking> track(page_range memory, std::size_t page) override;

 private:
  std::shared_ptr<fault_handler> by_;
  shared_write_callback before_write_;
};

}  // namespace uffd::detail
