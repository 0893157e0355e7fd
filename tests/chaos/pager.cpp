// SPDX-License-Identifier: MIT
#include "pager.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <utility>

#include "uffd/error.hpp"

namespace uffd::chaos {
namespace {

constexpr std::size_t most_parked = 64;

void spin(choices& mood) noexcept {
  for (auto left = mood.below(200); left != 0; --left) ::sched_yield();
}

void sleep_for(std::size_t microseconds) noexcept {
  const timespec pause{0, static_cast<long>(microseconds) * 1000};
  ::nanosleep(&pause, nullptr);
}

// While another thread forks this waits for it: somebody must read the fork's event meanwhile.
void allocate(choices& mood) { std::free(std::malloc(1 + mood.below(256 << 10))); }

// Of huge pages none may be left for a while. For children's copies nobody has reserved any.
template <class Fault>
bool may_come(const Fault& raised, const resolution& answer) noexcept {
  return answer.kind() == resolution::state::retry ||
         (answer.error() == std::errc::not_enough_memory && raised.space() == 0);
}

}  // namespace

pager::pager(const manners& how) : how_(how) {
  if (how_.in_thread) return;
  parked_.reserve(most_parked);
  if (how_.moves) {
    to_be_moved_.emplace(mapping::anonymous(how_.page_size));
    to_be_moved_->keep_from_children();
  }
  answering_.emplace([this](const std::stop_token& stop) { answer_parked(stop); });
}

pager::~pager() {
  if (answering_) answering_->request_stop();
}

identity pager::whose(const fault& raised) const noexcept {
  return {raised.tag(), raised.offset() / how_.page_size};
}

void pager::hear() noexcept {
  choices mood(mixed(how_.salt, faults_.fetch_add(1)));
  if (mood.one_in(16)) dawdle(mood);
  if (mood.one_in(8)) allocate(mood);
}

void pager::dawdle(choices& mood) const noexcept {
  if (how_.in_thread || mood.one_in(2)) return spin(mood);
  sleep_for(mood.below(300));
}

// Told of before it is let through: see life::confirm_protection().
resolution pager::let_write(choices& mood, fault& raised) noexcept {
  writes_under_way_.fetch_add(1);
  if (raised.space() == 0)
    told_.at((raised.page().begin() - how_.arena.begin()) / how_.page_size).store(true);
  if (mood.one_in(8)) dawdle(mood);
  const auto answer = mood.one_in(16) ? resolution::retry() : raised.unprotect();
  writes_under_way_.fetch_sub(1);
  return answer;
}

resolution pager::serve(fault& raised) noexcept {
  const auto answer = serve_once(raised);
  return may_come(raised, answer) ? resolution::retry() : answer;
}

resolution pager::serve_once(fault& raised) noexcept {
  choices mood(mixed(how_.salt, faults_.fetch_add(1)));
  switch (raised.kind()) {
    case fault_kind::write_protect:
      return let_write(mood, raised);
    case fault_kind::minor:
      if (mood.one_in(8)) dawdle(mood);
      if (mood.one_in(16)) return resolution::retry();
      return serve_minor(mood, raised);
    default:
      return serve_missing(mood, raised);
  }
}

flags<fill_mode> pager::some_mode(choices& mood, const fault& raised) const noexcept {
  const bool can = how_.protects && raised.region().modes.has(register_mode::write_protect);
  return can && mood.one_in(4) ? flags<fill_mode>(fill_mode::write_protect) : flags<fill_mode>();
}

resolution pager::serve_minor(choices& mood, fault& raised) {
  const auto mode = some_mode(mood, raised);
  const auto answer = raised.continue_(how_.protects_minor ? mode : flags<fill_mode>());
  // MADV_REMOVE goes on when its event is read: what was in the page cache may be gone since.
  if (answer.error() == std::errc::bad_address && !how_.in_thread)
    return serve_missing(mood, raised);
  return answer;
}

// What it installs is decided before it dawdles: something may be dropped meanwhile.
resolution pager::serve_missing(choices& mood, fault& raised) {
  const auto generation = generation_.load();
  if (refuses(how_.some_are_refused, whose(raised), generation)) return std::errc::io_error;
  const auto way = mood.below(16);
  if (way == 0) return resolution::retry();
  if (way <= 3) dawdle(mood);
  if (!how_.in_thread) {
    if (way == 4) allocate(mood);
    if (way == 5 || way == 6) return park(raised, generation);
    if (way == 7 && to_be_moved_ && raised.space() == 0) return serve_by_move(raised, generation);
  }
  if (way == 8 && !how_.some_are_refused) return serve_block(mood, raised, generation);
  const auto page = raised.buffer();
  fill(page, whose(raised), generation);
  return raised.copy(page, some_mode(mood, raised));
}

resolution pager::serve_block(choices& mood, fault& raised, std::uint32_t generation) {
  const auto size = how_.page_size;
  auto block = raised.block(4 * size);
  const auto buffer = raised.buffer(block.size());
  if (buffer.size() < block.size()) block = raised.page();
  const auto first = raised.offset_of(block) / size;
  for (std::size_t page = 0; page < block.size() / size; ++page)
    fill(buffer.subspan(page * size, size), {raised.tag(), first + page}, generation);
  return raised.copy(block, buffer.first(block.size()), some_mode(mood, raised));
}

// Pinned pages, and kernels that have no MOVE for this memory, refuse: then it is copied.
resolution pager::serve_by_move(fault& raised, std::uint32_t generation) {
  const std::lock_guard lock(moving_);
  fill(to_be_moved_->bytes(), whose(raised), generation);
  const auto moved = raised.move(to_be_moved_->range());
  if (moved.kind() != resolution::state::failed) return moved;
  fill(raised.buffer(), whose(raised), generation);
  return raised.copy(raised.buffer());
}

resolution pager::park(fault& raised, std::uint32_t generation) {
  {
    const std::lock_guard lock(parking_);
    if (parked_.size() < most_parked) {
      parked_.push_back({raised.defer(), generation});
      parked_some_.notify_one();
      return resolution::deferred();
    }
  }
  return resolution::retry();
}

// The thread that answers what callbacks have deferred.
void pager::answer_parked(const std::stop_token& stop) {
  std::vector<std::byte> page(how_.page_size);
  choices mood(how_.salt);
  std::unique_lock lock(parking_);
  while (parked_some_.wait(lock, stop, [this] { return !parked_.empty(); })) {
    auto next = std::move(parked_.back());
    parked_.pop_back();
    lock.unlock();
    if (mood.one_in(4)) sleep_for(mood.below(300));
    fill(page, {next.fault.region().tag, next.fault.offset() / how_.page_size}, next.generation);
    const auto answer = next.fault.copy(page);
    lock.lock();
    // Others first. One whose last answer was to try again is woken by its end, and comes again.
    const bool again = may_come(next.fault, answer) && parked_.size() < most_parked;
    const bool is_short = answer.error() == std::errc::not_enough_memory;
    if (again && (is_short || !mood.one_in(4))) parked_.insert(parked_.begin(), std::move(next));
  }
}

}  // namespace uffd::chaos
