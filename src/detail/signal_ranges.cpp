// SPDX-License-Identifier: MIT
#include "signal_ranges.hpp"

#include <algorithm>
#include <utility>

namespace uffd::detail {
namespace {

// A thread may take its signal so much later than its fault that as many ranges have ended since.
constexpr std::size_t remembered = 64;

constinit std::atomic<signal_ranges*> of_this_process{nullptr};

}  // namespace

signal_ranges::signal_ranges(signal_ranges* predecessor)
    : home_(process_mark::here()),
      predecessor_(predecessor),
      current_(std::make_unique<const table>()) {
  table_.store(current_.get(), std::memory_order_seq_cst);
}

// Never freed: a signal may come at any time. No lock: a fork could leave it locked in the child.
signal_ranges& signal_ranges::here() {
  auto* known = of_this_process.load(std::memory_order_acquire);
  while (known == nullptr || known->home_.in_child()) {
    std::unique_ptr<signal_ranges> made(new signal_ranges(known));
    if (of_this_process.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel))
      known = made.release();
  }
  return *known;
}

signal_ranges* signal_ranges::if_any() noexcept {
  auto* const known = of_this_process.load(std::memory_order_acquire);
  return known == nullptr || known->home_.in_child() ? nullptr : known;
}

// With the lock held.
template <class Change>
void signal_ranges::change(Change&& change) {
  auto next = std::make_unique<table>(*current_);
  change(*next);
  table_.store(next.get(), std::memory_order_seq_cst);
  const std::unique_ptr<const table> previous = std::exchange(current_, std::move(next));
  grace_.wait();
}

void signal_ranges::add(served_range& range) {
  const std::lock_guard lock(lock_);
  change([&](table& next) {
    next.served.insert(range.info.range, &range, range.info.offset);
    std::erase_if(next.ended, [&](page_range ended) { return ended.overlaps(range.info.range); });
  });
}

void signal_ranges::remove(const served_range& range) {
  const std::lock_guard lock(lock_);
  change([&](table& next) {
    next.served.erase_client(&range);
    if (next.ended.size() == remembered) next.ended.erase(next.ended.begin());
    next.ended.push_back(range.info.range);
  });
}

bool signal_ranges::has_ended(std::uintptr_t address) noexcept {
  const grace_period::reader reader(grace_);
  const auto& ended = table_.load(std::memory_order_seq_cst)->ended;
  return std::any_of(ended.begin(), ended.end(),
                     [&](page_range range) { return range.contains(address); });
}

}  // namespace uffd::detail
