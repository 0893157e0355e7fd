// SPDX-License-Identifier: MIT
#include "tracking/snapshot_engine.hpp"

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "detail/unmerged.hpp"
#include "tracking/mapped_backing.hpp"
#include "uffd/callbacks.hpp"
#include "uffd/error.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/handle.hpp"

namespace uffd::detail {
namespace {

// Keeps the memory's states alive as long as a fault may come.
struct write_client {
  std::shared_ptr<snapshot_memory> memory;
  saved_area* area;

  // A followed child's memory is its own.
  resolution on_page_fault(fault& raised) const noexcept {
    return raised.space() == 0 ? memory->on_write(*area, raised) : raised.unprotect();
  }
};

struct write_and_remove_client : write_client {
  void on_remove(const remove_event& seen, std::size_t space) const noexcept {
    if (space == 0) memory->on_remove(*area, seen.range);
  }
};

// The handler's own callbacks, which nothing calls: each area has a client.
resolution unprotect(fault& raised) { return raised.unprotect(); }

struct removals_unheeded {
  resolution on_page_fault(fault& raised) const noexcept { return raised.unprotect(); }
  void on_remove(const remove_event&) const noexcept {}
};

flags<feature> needed_features(std::span<const backing> kinds, bool hears_removals) {
  flags<feature> needed = feature::pagefault_flag_wp;
  const bool is_all_anonymous = std::all_of(
      kinds.begin(), kinds.end(), [](backing kind) { return kind == backing::anonymous; });
  if (!is_all_anonymous) needed |= feature::wp_hugetlbfs_shmem;
  if (hears_removals) needed |= feature::event_remove;
  return needed;
}

// The handle of a snapshotter of its own.
handle open_for(const snapshot_options& options, flags<feature> needed) {
  auto open = options.open;
  if (open.required.has(feature::wp_async))
    throw_errno(EINVAL, "snapshotter: with " + to_string(flags(feature::wp_async)) +
                            " no write is told; leave it out of snapshot_options::open");
  open.optional = open.optional - flags(feature::wp_async) - flags(feature::wp_unpopulated);
  open.required |= needed;
  open.kernel_faults = kernel_fault_policy::required;
  try {
    return handle::open(open);
  } catch (const std::system_error& error) {
    throw std::system_error(
        error.code(), std::string("snapshotter: faults of system calls must be served, and ") +
                          (needed.has(feature::wp_hugetlbfs_shmem)
                               ? "memory that is not private and anonymous needs Linux 5.19: "
                               : "memory be write-protected: ") +
                          error.what());
  }
}

void check_serves_kernel_faults(const handle& on) {
  if (on.serves_kernel_faults()) return;
  throw_errno(EINVAL,
              "snapshotter: the handler does not serve faults of system calls, which would fail "
              "with EFAULT; open its handle with kernel_fault_policy::required");
}

void check_features(const handle& on, flags<feature> needed) {
  if (const auto missing = needed - on.features(); !missing.empty())
    throw_errno(EINVAL, "snapshotter: the handler's handle did not negotiate " +
                            to_string(missing) + ": add it to its open_options");
  if (on.features().has(feature::wp_async))
    throw_errno(EINVAL, "snapshotter: the handler's handle negotiated " +
                            to_string(flags(feature::wp_async)) + ", with which no write is told");
}

}  // namespace

snapshot_engine::snapshot_engine(fault_handler* by, std::span<const region_info> areas,
                                 const snapshot_options& options, page_lookup lookup)
    : lookup_(lookup), by_(by) {
  if (areas.empty()) throw_errno(EINVAL, "snapshotter: no memory");
  for (const auto& info : areas) {
    check_alignment(info);
    kinds_.push_back(mapped_backing(info.range, info.page_size));
  }
  if (by_ != nullptr)
    use_given(areas, options);
  else
    open_own(areas, options);
  for (const auto& info : areas) keep_unmerged(info.range);
  serve(areas);
  protector_.emplace(*memory_, std::max(1U, options.protect_threads));
}

// Their pager has registered them, and hears of their faults first.
snapshot_engine::snapshot_engine(std::span<paged_area* const> areas,
                                 const snapshot_options& options)
    : lookup_(page_lookup::scan), kinds_(areas.size(), backing::paged) {
  if (areas.empty()) throw_errno(EINVAL, "snapshotter: no memory");
  const auto& on = areas.front()->on();
  flags<feature> needed = feature::pagefault_flag_wp;
  std::vector<region_info> infos;
  for (const auto* area : areas) {
    if (&area->on() != &on)
      throw_errno(EINVAL, "snapshotter " + to_string(area->memory()) +
                              ": another pager serves it than the memory before it");
    if (area->page_size() != uffd::page_size()) needed |= feature::wp_hugetlbfs_shmem;
    infos.emplace_back().range = area->memory();
    infos.back().page_size = area->page_size();
  }
  check_serves_kernel_faults(on);
  check_features(on, needed);
  memory_ = std::make_shared<snapshot_memory>(on, infos, kinds_, options.extra_memory, lookup_);
  for (std::size_t i = 0; i < areas.size(); ++i) {
    auto& area = *memory_->areas()[i];
    area.by_pager = areas[i];
    watched_.push_back(std::make_unique<watched_area>(memory_, area));
  }
  protector_.emplace(*memory_, std::max(1U, options.protect_threads));
}

// What anonymous memory lost, the pages' marks tell.
bool snapshot_engine::must_hear_removals() const noexcept {
  return !memory_->map().tells_marks() ||
         std::any_of(kinds_.begin(), kinds_.end(),
                     [](backing kind) { return kind != backing::anonymous; });
}

void snapshot_engine::open_own(std::span<const region_info> areas,
                               const snapshot_options& options) {
  std::optional<handle> on(open_for(options, needed_features(kinds_, false)));
  memory_ = std::make_shared<snapshot_memory>(*on, areas, kinds_, options.extra_memory, lookup_);
  fault_handler_options how;
  how.threads = options.threads;
  how.on_stop = stop_policy::leave_zero;
  how.forks = fork_policy::not_inherited;
  how.buffer_size = memory_->largest_page();
  if (!must_hear_removals()) {
    own_.emplace(std::move(*on), unprotect, how);
  } else {
    memory_.reset();
    on.emplace(open_for(options, needed_features(kinds_, true)));
    memory_ = std::make_shared<snapshot_memory>(*on, areas, kinds_, options.extra_memory, lookup_);
    own_.emplace(std::move(*on), removals_unheeded{}, how);
  }
  by_ = &*own_;
}

void snapshot_engine::use_given(std::span<const region_info> areas,
                                const snapshot_options& options) {
  const auto& on = by_->on();
  check_serves_kernel_faults(on);
  check_features(on, needed_features(kinds_, false));
  memory_ = std::make_shared<snapshot_memory>(on, areas, kinds_, options.extra_memory, lookup_);
  check_features(on, needed_features(kinds_, must_hear_removals()));
}

void snapshot_engine::serve(std::span<const region_info> areas) {
  const bool hears = must_hear_removals();
  for (std::size_t i = 0; i < areas.size(); ++i) {
    const write_client client{memory_, memory_->areas()[i].get()};
    const serve_options how{.modes = register_mode::write_protect,
                            .page_size = areas[i].page_size,
                            .on_end = close_policy::leave_zero};
    regions_.push_back(hears ? by_->serve(areas[i].range, write_and_remove_client{client}, how)
                             : by_->serve(areas[i].range, write_client(client), how));
  }
  if (hears) barrier_.emplace(*by_);
}

snapshot_engine::~snapshot_engine() {
  if (home_.in_child() || !last_) return;
  last_->cancel();
  last_->wait();
}

std::shared_ptr<snapshot_under_way> snapshot_engine::take(const sink_maker& make_sink,
                                                          const std::function<void()>& stop,
                                                          const std::function<void()>& go) {
  if (home_.in_child()) throw_errno(EOWNERDEAD, "snapshotter::take in a forked child");
  const std::unique_lock taking(taking_, std::try_to_lock);
  if (!taking || (last_ && !last_->is_over()))
    throw_errno(EBUSY, "snapshotter::take: another snapshot is under way");
  has_base_ = has_base();
  last_.reset();
  auto [sink, is_delta] = make_sink(has_base_);
  auto next = std::make_shared<snapshot_under_way>(memory_, std::move(sink), is_delta,
                                                   barrier_ ? &*barrier_ : nullptr);
  if (barrier_ && !barrier_->pass())
    throw_errno(ETIMEDOUT, "snapshotter::take: the fault handler tells of no events");
  memory_->begin();
  try {
    protector_->protect_ahead(!is_delta);
    throw_failure();
    const auto pause = stand_still(stop, go);
    next->start(pause, protector_->bytes_ahead(), protector_->bytes_at_the_moment());
  } catch (...) {
    memory_->end(false);
    throw;
  }
  last_ = next;
  return next;
}

// What fails after the moment, fails the snapshot under way.
std::chrono::nanoseconds snapshot_engine::stand_still(const std::function<void()>& stop,
                                                      const std::function<void()>& go) {
  stop();
  const auto begin = std::chrono::steady_clock::now();
  // What was dropped before the moment must be known at it.
  if (barrier_ && !barrier_->pass()) {
    memory_->fail(
        {{ETIMEDOUT, std::system_category()}, "the fault handler tells of no events", {}});
  } else {
    memory_->pause();
    protector_->protect();
    memory_->save();
  }
  const auto pause = std::chrono::steady_clock::now() - begin;
  const bool has_failed = memory_->has_failed();
  go();
  if (has_failed) throw_failure();
  return pause;
}

void snapshot_engine::throw_failure() const {
  const auto failure = memory_->failure();
  if (failure.error)
    throw std::system_error(failure.error, std::string("snapshotter::take: ") + failure.what + " " +
                                               to_string(failure.where));
}

}  // namespace uffd::detail
