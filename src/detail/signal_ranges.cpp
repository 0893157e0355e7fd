// SPDX-License-Identifier: MIT
#include "signal_ranges.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "uffd/detail/close_range.hpp"

namespace uffd::detail {
namespace {

// A thread may take its signal so much later than its fault, and as many ranges have ended since.
constexpr auto remembered_for = std::chrono::seconds(1);
constexpr std::size_t always_remembered = 64;
constexpr std::size_t most_remembered = 4096;

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
  change([&](table& next) { next.served.insert(range.info.range, &range, range.info.offset); });
}

// What found it before may still look at it.
template <class Change>
void signal_ranges::take_out(const served_range& range, Change&& change) noexcept {
  try {
    const std::lock_guard lock(lock_);
    this->change(change);
  } catch (...) {
    end_process("out of memory while a range of a sigbus_handler ends");
  }
  wait_for_guests(range);
}

void signal_ranges::wait_for_guests(const served_range& range) noexcept {
  while (range.guests.load(std::memory_order_seq_cst) != 0) pause_shortly();
}

void signal_ranges::remove(const served_range& range) noexcept {
  take_out(range, [&](table& next) {
    const auto now = std::chrono::steady_clock::now();
    next.served.erase_client(&range);
    auto& ended = next.ended;
    // The last end of an address is the one that is looked for.
    std::erase_if(
        ended, [&](const ended_range& before) { return range.info.range.contains(before.range); });
    ended.push_back({range.info.range, ++ends_, now});
    const auto first_kept = std::find_if(ended.begin(), ended.end(), [&](const ended_range& each) {
      const auto newer = static_cast<std::size_t>(&ended.back() - &each);
      return newer < always_remembered ||
             (newer < most_remembered && now - each.end <= remembered_for);
    });
    ended.erase(ended.begin(), first_kept);
  });
}

void signal_ranges::withdraw(const served_range& range) noexcept {
  take_out(range, [&](table& next) { next.served.erase_client(&range); });
}

// 0 if there is none.
std::uint64_t signal_ranges::end_of(std::uintptr_t address) noexcept {
  const grace_period::reader reader(grace_);
  const auto& ended = table_.load(std::memory_order_seq_cst)->ended;
  const auto last = std::find_if(ended.rbegin(), ended.rend(), [&](const ended_range& each) {
    return each.range.contains(address);
  });
  return last == ended.rend() ? 0 : last->number;
}

bool signal_ranges::is_late(std::uintptr_t address) noexcept {
  const auto end = end_of(address);
  if (end == 0) return false;
  const auto thread = static_cast<std::uint64_t>(::syscall(SYS_gettid));
  // Spreads the bits: other threads that share the place must not look the same.
  const std::uint64_t attempt = ((thread << 40) ^ (end << 20) ^ address) * 0x9E3779B97F4A7C15;
  auto& last = tried_again_[thread % tried_again_.size()];
  return last.exchange(attempt, std::memory_order_relaxed) != attempt;
}

}  // namespace uffd::detail
