// SPDX-License-Identifier: MIT
// A snapshotter but for files: areas that are served, and snapshots of them put into sinks.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "tracking/event_barrier.hpp"
#include "tracking/page_protector.hpp"
#include "tracking/page_sink.hpp"
#include "tracking/paged_area.hpp"
#include "tracking/snapshot_memory.hpp"
#include "tracking/snapshot_under_way.hpp"
#include "tracking/watched_area.hpp"
#include "uffd/detail/process.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/region_info.hpp"
#include "uffd/served_region.hpp"
#include "uffd/tracking/snapshot_options.hpp"

namespace uffd::detail {

class snapshot_engine {
 public:
  // Where the pages of a snapshot go; only what changed, if it is based on the last complete one.
  struct destination {
    std::unique_ptr<page_sink> sink;
    bool is_delta = false;
  };
  // Called when nothing is under way.
  using sink_maker = std::function<destination(bool has_base)>;

  // With a handler of its own, or as a client of `by`. Throws std::system_error.
  snapshot_engine(fault_handler* by, std::span<const region_info> areas,
                  const snapshot_options& options, page_lookup lookup = page_lookup::scan);
  // Of what pagers serve by one handle, which outlive it.
  snapshot_engine(std::span<paged_area* const> areas, const snapshot_options& options);
  snapshot_engine(const snapshot_engine&) = delete;
  snapshot_engine& operator=(const snapshot_engine&) = delete;
  ~snapshot_engine();

  // Whether a snapshot is complete that the next one can be a delta to.
  bool has_base() const noexcept { return has_base_ || (last_ && last_->is_complete()); }
  // Protects memory, and between stop() and go() what was written meanwhile. Throws
  // std::system_error: EBUSY while another one is under way.
  std::shared_ptr<snapshot_under_way> take(const sink_maker& make_sink,
                                           const std::function<void()>& stop,
                                           const std::function<void()>& go);

 private:
  void open_own(std::span<const region_info> areas, const snapshot_options& options);
  void use_given(std::span<const region_info> areas, const snapshot_options& options);
  void serve(std::span<const region_info> areas);
  bool must_hear_removals() const noexcept;
  void throw_failure() const;
  std::chrono::nanoseconds stand_still(const std::function<void()>& stop,
                                       const std::function<void()>& go);

  process_mark home_ = process_mark::here();
  const page_lookup lookup_;
  std::vector<backing> kinds_;
  std::optional<fault_handler> own_;
  fault_handler* by_ = nullptr;
  std::shared_ptr<snapshot_memory> memory_;
  std::optional<event_barrier> barrier_;
  std::vector<served_region> regions_;
  std::vector<std::unique_ptr<watched_area>> watched_;
  std::optional<page_protector> protector_;
  std::mutex taking_;
  bool has_base_ = false;
  std::shared_ptr<snapshot_under_way> last_;
};

}  // namespace uffd::detail
