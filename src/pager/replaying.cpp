// SPDX-License-Identifier: MIT
#include "pager/replaying.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>

#include "detail/thread.hpp"
#include "pager/evictor.hpp"
#include "pager/mapped_source.hpp"
#include "uffd/error.hpp"
#include "uffd/pager/paged_memory.hpp"

namespace uffd {
namespace detail {

std::vector<page_run> parts_to_read(std::span<const working_set::run> runs,
                                    const reading_plan& plan) {
  std::vector<page_run> joined;
  for (const auto& run : runs) {
    const auto first = static_cast<std::size_t>(run.offset / plan.page_size);
    const auto last = static_cast<std::size_t>((run.offset + run.size - 1) / plan.page_size);
    if (!joined.empty() && first <= joined.back().end() + plan.gap)
      joined.back().count = std::max(joined.back().end(), last + 1) - joined.back().first;
    else
      joined.push_back({first, last + 1 - first});
  }
  std::vector<page_run> parts;
  for (auto run : joined)
    for (; run.count != 0; run.first += parts.back().count, run.count -= parts.back().count)
      parts.push_back({run.first, std::min(run.count, plan.most - run.first % plan.most)});
  return parts;
}

namespace {

constexpr std::size_t most_bytes_at_once = std::size_t{2} << 20;

// Reads parts one after the other, in as many threads as call run().
class reading {
 public:
  reading(paged_region& to, evictor& budget, std::span<const page_run> parts)
      : to_(to), budget_(budget), parts_(parts) {}

  void run() noexcept {
    try {
      std::size_t most = 0;
      for (const auto part : parts_) most = std::max(most, part.count);
      std::vector<std::byte> buffer(most * to_.page_size());
      run_with(buffer);
    } catch (const std::bad_alloc&) {
      end(std::make_error_code(std::errc::not_enough_memory));
    }
  }

  std::error_code error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }

 private:
  void run_with(std::span<std::byte> buffer) noexcept {
    while (!is_over_.load(std::memory_order_relaxed)) {
      const auto number = next_.fetch_add(1, std::memory_order_relaxed);
      if (number >= parts_.size()) return;
      const auto part = parts_[number];
      const auto bytes = part.count * to_.page_size();
      // What is being read by others may be counted already: rather too little is read than too
      // much.
      if (budget_.room() < under_way_.fetch_add(bytes) + bytes) return end({});
      if (const auto error = to_.prefetch(part, buffer)) return end(error);
      under_way_.fetch_sub(bytes);
    }
  }

  void end(std::error_code why) noexcept {
    is_over_.store(true, std::memory_order_relaxed);
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = why;
  }

  paged_region& to_;
  evictor& budget_;
  const std::span<const page_run> parts_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> under_way_{0};  // bytes
  std::atomic<bool> is_over_{false};
  mutable std::mutex mutex_;
  std::error_code error_;
};

// With as many threads as can be had; the caller's is one of them.
std::error_code read_all(reading& all, unsigned threads) {
  std::vector<std::optional<thread>> others(threads - 1);
  for (auto& each : others) {
    try {
      each.emplace("uffd replay", std::nullopt, [&] { all.run(); });
    } catch (const std::exception&) {
      break;
    }
  }
  all.run();
  for (auto& each : others)
    if (each) each->join();
  return all.error();
}

}  // namespace
}  // namespace detail

recording paged_memory::record() const {
  auto& region = mapped_->region;
  if (!region.recorder().begin())
    detail::throw_errno(EBUSY, "paged_memory::record: it is being recorded");
  return recording(region);
}

std::error_code paged_memory::replay(const working_set& wanted,
                                     const replay_options& options) const noexcept {
  auto& region = mapped_->region;
  try {
    if (!wanted.is_of(region.source().identity(), region.size()))
      return working_set_error::other_source;
    detail::reading_plan plan;
    plan.page_size = region.page_size();
    plan.gap = options.gap / plan.page_size;
    plan.most =
        std::max(std::min(mapped_->by->buffer_size, detail::most_bytes_at_once) / plan.page_size,
                 std::size_t{1});
    const auto parts = detail::parts_to_read(wanted.runs(), plan);
    detail::reading all(region, *mapped_->by->evicting, parts);
    return detail::read_all(
        all,
        std::max(1U, static_cast<unsigned>(std::min<std::size_t>(options.readers, parts.size()))));
  } catch (const std::bad_alloc&) {
    return std::make_error_code(std::errc::not_enough_memory);
  } catch (const std::system_error& error) {
    return error.code();
  } catch (...) {
    return std::make_error_code(std::errc::io_error);  // a source's identity()
  }
}

}  // namespace uffd
