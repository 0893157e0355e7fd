// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot.hpp"

#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "tracking/page_sink.hpp"
#include "tracking/paged_area.hpp"
#include "tracking/snapshot_base.hpp"
#include "tracking/snapshot_engine.hpp"
#include "tracking/snapshot_under_way.hpp"
#include "tracking/snapshot_writer.hpp"
#include "uffd/region_info.hpp"

namespace uffd {
namespace {

std::vector<region_info> infos_of(std::span<const snapshot_area> areas) {
  std::vector<region_info> infos(areas.size());
  for (std::size_t i = 0; i < areas.size(); ++i) {
    infos[i].range = areas[i].range;
    infos[i].page_size = areas[i].page_size;
  }
  return infos;
}

// None: the next one has to be whole.
using latest_file = std::optional<detail::snapshot_base>;

// A file that is the base of the next one once it is complete.
class file_sink final : public detail::page_sink {
 public:
  file_sink(const std::filesystem::path& path, std::span<const snapshot_area> areas, bool is_delta,
            std::shared_ptr<latest_file> latest)
      : path_(std::filesystem::absolute(path)),
        writer_(path_, areas, is_delta ? &**latest : nullptr),
        is_delta_(is_delta),
        latest_(std::move(latest)) {}

  std::error_code put(std::size_t area, std::size_t offset,
                      std::span<const std::byte> pages) noexcept override {
    return writer_.put(area, offset, pages);
  }
  std::error_code put_zero(std::size_t area, std::size_t offset,
                           std::size_t bytes) noexcept override {
    return writer_.put_zero(area, offset, bytes);
  }
  std::error_code commit() noexcept override {
    const bool has_base = !is_delta_ || has_it_still();
    // A file that failed may still have replaced the one before it: the next has to be whole.
    latest_->reset();
    if (!has_base) return snapshot_error::no_base;
    if (const auto error = writer_.commit()) return error;
    try {
      latest_->emplace(path_);
      // Somebody else may have given that name to another one.
      if ((*latest_)->header().identity != writer_.identity()) latest_->reset();
    } catch (...) {
      latest_->reset();  // complete all the same
    }
    return {};
  }

 private:
  // Under whatever name.
  bool has_it_still() noexcept {
    try {
      return (*latest_)->is_beside(path_);
    } catch (...) {
      return false;
    }
  }

  std::filesystem::path path_;
  detail::snapshot_writer writer_;
  bool is_delta_;
  std::shared_ptr<latest_file> latest_;
};

}  // namespace

struct snapshotter::parts {
  parts(fault_handler* by, std::span<const snapshot_area> which, const snapshot_options& options)
      : areas(which.begin(), which.end()), engine(by, infos_of(which), options) {}

  parts(std::span<detail::paged_area* const> which, const snapshot_options& options)
      : engine(which, options) {
    for (const auto* each : which) areas.push_back({each->memory(), each->page_size()});
  }

  std::vector<snapshot_area> areas;
  std::shared_ptr<latest_file> latest = std::make_shared<latest_file>();
  detail::snapshot_engine engine;
};

running_snapshot::running_snapshot(std::shared_ptr<detail::snapshot_under_way> of) noexcept
    : of_(std::move(of)) {}
running_snapshot::running_snapshot(running_snapshot&& other) noexcept = default;
running_snapshot& running_snapshot::operator=(running_snapshot&& other) noexcept {
  if (this != &other) {
    end();
    of_ = std::move(other.of_);
  }
  return *this;
}
running_snapshot::~running_snapshot() { end(); }

void running_snapshot::end() noexcept {
  if (!of_) return;
  of_->cancel();
  of_->wait();
  of_.reset();
}

snapshot_report running_snapshot::wait() const {
  of_->wait();
  return of_->report();
}
bool running_snapshot::is_over() const noexcept { return of_->is_over(); }
snapshot_progress running_snapshot::progress() const noexcept { return of_->progress(); }
void running_snapshot::cancel() noexcept { of_->cancel(); }

snapshotter::snapshotter(std::span<const snapshot_area> areas, const snapshot_options& options)
    : parts_(std::make_unique<parts>(nullptr, areas, options)) {}
snapshotter::snapshotter(fault_handler& by, std::span<const snapshot_area> areas,
                         const snapshot_options& options)
    : parts_(std::make_unique<parts>(&by, areas, options)) {}
snapshotter::snapshotter(std::span<detail::paged_area* const> areas,
                         const snapshot_options& options)
    : parts_(std::make_unique<parts>(areas, options)) {}
snapshotter::snapshotter(snapshotter&& other) noexcept = default;
snapshotter& snapshotter::operator=(snapshotter&& other) noexcept = default;
snapshotter::~snapshotter() = default;

running_snapshot snapshotter::begin(const std::filesystem::path& path, snapshot_extent extent,
                                    const std::function<void()>& stop,
                                    const std::function<void()>& go) {
  const auto make_sink = [&](bool has_base) {
    auto& latest = *parts_->latest;
    const bool is_delta =
        has_base && latest && extent == snapshot_extent::changes && latest->is_beside(path);
    return detail::snapshot_engine::destination{
        std::make_unique<file_sink>(path, parts_->areas, is_delta, parts_->latest), is_delta};
  };
  return running_snapshot(parts_->engine.take(make_sink, stop, go));
}

}  // namespace uffd
