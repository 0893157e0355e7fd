// SPDX-License-Identifier: MIT
// Tracking by the kernel itself: it resolves the faults (UFFD_FEATURE_WP_ASYNC) and tells which
// pages were written since it protected them (PAGEMAP_SCAN).
#pragma once

#include <cstddef>
#include <memory>

#include "tracking/tracking.hpp"
#include "uffd/flags.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"

namespace uffd::detail {

class written_page_scan;

class asynchronous_tracking final : public tracking_engine {
 public:
  // What the kernel must have for it.
  static constexpr flags<feature> needed = feature::wp_async;

  // Throws std::system_error.
  explicit asynchronous_tracking(const open_options& open);

  std::shared_ptr<memory_tracking> track(page_range memory, std::size_t page) override;

 private:
  std::shared_ptr<written_page_scan> by_;
};

}  // namespace uffd::detail
