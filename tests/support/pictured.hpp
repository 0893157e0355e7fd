// SPDX-License-Identifier: MIT
// Snapshots into memory, for tests that look at what is put.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/memory.hpp"
#include "support/sight.hpp"
#include "tracking/page_sink.hpp"
#include "tracking/paged_area.hpp"
#include "tracking/snapshot_engine.hpp"
#include "uffd/callbacks.hpp"
#include "uffd/fault.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/flags.hpp"
#include "uffd/message.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"
#include "uffd/tracking/snapshot_options.hpp"

namespace uffd::test {

inline void write(std::uintptr_t address, int value = 7) {
  ASSERT_EQ(try_write(address, value), shows(value));
}

// What snapshots have of one area: the last complete one, and what was put for the one after it.
struct picture {
  explicit picture(const region_info& of)
      : page_size(of.page_size),
        bytes(of.range.size()),
        complete(of.range.size()),
        puts(of.range.size() / of.page_size),
        zeroes(puts.size()) {}

  std::size_t pages_put() const {
    return static_cast<std::size_t>(
        std::count_if(puts.begin(), puts.end(), [](int count) { return count != 0; }));
  }
  std::vector<std::size_t> numbers_put() const {
    std::vector<std::size_t> numbers;
    for (std::size_t page = 0; page < puts.size(); ++page)
      if (puts[page] != 0) numbers.push_back(page);
    return numbers;
  }
  int at(std::size_t page, std::size_t offset = 0) const {
    return std::to_integer<int>(complete[page * page_size + offset]);
  }

  std::size_t page_size;
  std::vector<std::byte> bytes;
  std::vector<std::byte> complete;
  std::vector<int> puts;    // how often each page was put
  std::vector<int> zeroes;  // the same as zero
};

// How a sink behaves.
struct sink_behaviour {
  std::chrono::microseconds delay{0};  // of each put
  std::size_t fails_at = ~std::size_t{0};
  bool fails_to_commit = false;
  signal* reached = nullptr;  // the first put
  signal* release = nullptr;  // what the first put waits for
  std::function<void()> before_put = {};
};

class picture_sink final : public uffd::detail::page_sink {
 public:
  picture_sink(std::vector<picture>& pictures, bool is_delta, sink_behaviour behaviour)
      : pictures_(pictures), behaviour_(std::move(behaviour)) {
    for (auto& each : pictures_) {
      each.bytes = each.complete;
      if (!is_delta) std::fill(each.bytes.begin(), each.bytes.end(), std::byte{0});
      std::fill(each.puts.begin(), each.puts.end(), 0);
      std::fill(each.zeroes.begin(), each.zeroes.end(), 0);
    }
  }

  std::error_code put(std::size_t area, std::size_t offset,
                      std::span<const std::byte> pages) noexcept override {
    if (put_++ == 0) {
      if (behaviour_.reached != nullptr) behaviour_.reached->set();
      if (behaviour_.release != nullptr) {
        EXPECT_TRUE(behaviour_.release->comes());
      }
      if (behaviour_.before_put) behaviour_.before_put();
    }
    if (behaviour_.delay.count() != 0) std::this_thread::sleep_for(behaviour_.delay);
    if (put_ > behaviour_.fails_at) return std::make_error_code(std::errc::no_space_on_device);
    auto& one = pictures_[area];
    std::copy(pages.begin(), pages.end(), one.bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    for (auto page = offset / one.page_size; page < (offset + pages.size()) / one.page_size; ++page)
      ++one.puts[page];
    return {};
  }
  std::error_code put_zero(std::size_t area, std::size_t offset,
                           std::size_t bytes) noexcept override {
    auto& one = pictures_[area];
    std::fill_n(one.bytes.begin() + static_cast<std::ptrdiff_t>(offset), bytes, std::byte{0});
    for (auto page = offset / one.page_size; page < (offset + bytes) / one.page_size; ++page)
      ++one.zeroes[page];
    return {};
  }
  std::error_code commit() noexcept override {
    if (behaviour_.fails_to_commit) return std::make_error_code(std::errc::io_error);
    for (auto& each : pictures_) each.complete = each.bytes;
    return {};
  }

 private:
  std::vector<picture>& pictures_;
  sink_behaviour behaviour_;
  std::size_t put_ = 0;
};

inline void nothing_to_stop() {}

// Areas, and pictures of them.
class pictured {
 public:
  explicit pictured(std::vector<region_info> areas, const snapshot_options& options = {},
                    fault_handler* by = nullptr,
                    uffd::detail::page_lookup lookup = uffd::detail::page_lookup::scan)
      : areas_(std::move(areas)), pictures_(areas_.begin(), areas_.end()) {
    engine_ = std::make_unique<uffd::detail::snapshot_engine>(by, areas_, options, lookup);
  }
  // What pagers serve.
  explicit pictured(const std::vector<uffd::detail::paged_area*>& paged,
                    const snapshot_options& options = {}) {
    for (const auto* each : paged) {
      areas_.emplace_back().range = each->memory();
      areas_.back().page_size = each->page_size();
      pictures_.emplace_back(areas_.back());
    }
    engine_ = std::make_unique<uffd::detail::snapshot_engine>(paged, options);
  }
  explicit pictured(const test::memory& memory, const snapshot_options& options = {},
                    fault_handler* by = nullptr,
                    uffd::detail::page_lookup lookup = uffd::detail::page_lookup::scan)
      : pictured(std::vector<region_info>{area_of(memory)}, options, by, lookup) {}

  static region_info area_of(const test::memory& memory) {
    region_info info;
    info.range = memory.range();
    info.page_size = memory.page_size();
    return info;
  }

  std::shared_ptr<uffd::detail::snapshot_under_way> begin(
      sink_behaviour behaviour = {}, const std::function<void()>& stop = nothing_to_stop,
      const std::function<void()>& go = nothing_to_stop, bool full = false) {
    return engine_->take(
        [&](bool has_base) {
          const bool is_delta = has_base && !full;
          return uffd::detail::snapshot_engine::destination{
              std::make_unique<picture_sink>(pictures_, is_delta, std::move(behaviour)), is_delta};
        },
        stop, go);
  }
  // The whole of it.
  snapshot_report take(sink_behaviour behaviour = {},
                       const std::function<void()>& stop = nothing_to_stop,
                       const std::function<void()>& go = nothing_to_stop, bool full = false) {
    const auto running = begin(std::move(behaviour), stop, go, full);
    running->wait();
    return running->report();
  }
  snapshot_report take_full() { return take({}, nothing_to_stop, nothing_to_stop, true); }

  const picture& of(std::size_t area = 0) const { return pictures_[area]; }
  void end() { engine_.reset(); }

 private:
  std::vector<region_info> areas_;
  std::vector<picture> pictures_;
  std::unique_ptr<uffd::detail::snapshot_engine> engine_;
};

// For a handler whose clients may take snapshots, whatever the kernel tells of pages.
struct zeroes_for_missing {
  resolution on_page_fault(fault& raised) const noexcept { return raised.zeropage(); }
  void on_remove(const remove_event&) const noexcept {}
};

inline fault_handler_options handler_options_for_snapshots() {
  fault_handler_options options;
  options.on_stop = stop_policy::leave_zero;
  options.forks = fork_policy::not_inherited;
  options.open = {.required = feature::pagefault_flag_wp | feature::event_remove,
                  .kernel_faults = kernel_fault_policy::required};
  return options;
}

// What is lacking for snapshots of such memory.
inline std::string snapshots_of(memory_kind kind, std::size_t pages) {
  auto lacking = kernel_faults();
  if (lacking.empty()) lacking = available(kind, pages, register_mode::write_protect);
  if (lacking.empty() && kind != memory_kind::anonymous)
    lacking = kernel_has(feature::event_remove);
  return lacking;
}

}  // namespace uffd::test
