// SPDX-License-Identifier: MIT
#include "tracking/trapped_writes.hpp"

#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "uffd/flags.hpp"

namespace uffd::detail {
namespace {

std::exception_ptr error_object(int number, const char* what) {
  return std::make_exception_ptr(std::system_error(number, std::system_category(), what));
}

// Zeroes, protected, where nothing is; wakes nobody. EEXIST: something is.
int install_zeroes(const fault& raised) noexcept {
  const auto zeroes = raised.buffer();
  std::memset(zeroes.data(), 0, zeroes.size());
  const auto how = fill_mode::write_protect | fill_mode::dont_wake;
  return raised.on().copy(raised.page().begin(), zeroes, how).number;
}

// As if nothing was tracked.
resolution let_through(fault& raised) noexcept {
  return raised.kind() == fault_kind::missing ? raised.zeropage() : raised.unprotect();
}

}  // namespace

// Apart, and of this file's own: inlined, gcc takes its end for uninitialized.
[[gnu::cold, gnu::noinline]] bool wait_for_events(patience& left) noexcept { return left.wait(); }

trapped_writes::trapped_writes(handle on, page_range memory, std::size_t page,
                               shared_write_callback before_write)
    : on_(std::move(on)),
      memory_(memory),
      page_size_(page),
      before_write_(std::move(before_write)),
      states_(memory.size() / page) {}

// In a forked child, or moved by mremap(): nobody collects it there.
bool trapped_writes::is_elsewhere(const fault& raised) const noexcept {
  return raised.space() != 0 || raised.page().begin() != memory_.begin() + raised.offset();
}

// Whatever it answers, but to come again, the handler wakes the page's waiters afterwards.
resolution trapped_writes::serve(fault& raised) noexcept {
  if (has_failed_.load() || is_elsewhere(raised)) [[unlikely]]
    return let_through(raised);
  const auto index = raised.offset() / page_size_;
  const auto before = states_.try_hold(index);
  return before ? serve_held(raised, index, *before) : serve_shown(raised, index);
}

// The page was dropped while a callback looks at it, which waits for it. Zeroes that are protected
// change nothing else: a write faults again.
resolution trapped_writes::serve_shown(fault& raised, std::size_t index) noexcept {
  if (raised.kind() != fault_kind::missing || !states_.try_fill(index)) return resolution::retry();
  const int number = install_zeroes(raised);
  states_.set(index, {write_phase::shown, true});
  return number == 0 || number == EEXIST ? resolution::resolved() : give_up(raised, number);
}

resolution trapped_writes::serve_held(fault& raised, std::size_t index,
                                      write_state before) noexcept {
  if (raised.kind() != fault_kind::missing) return open(raised, index, before.phase);
  const int number = install_zeroes(raised);
  if (number == EEXIST) {  // another fault was faster: who waits finds the page
    states_.set(index, {before.phase, true});
    return resolution::resolved();
  }
  if (number != 0) {
    states_.set(index, before);
    return give_up(raised, number);
  }
  if (raised.is_write()) return open(raised, index, before.phase);
  // What was there was dropped, which is as good as written.
  states_.set(index, {before.there ? write_phase::written : before.phase, true});
  return resolution::resolved();
}

// Nobody is woken before the page is marked, so that who wrote finds it among what was written.
resolution trapped_writes::open(fault& raised, std::size_t index, write_phase before) noexcept {
  if (before == write_phase::clean && before_write_) show(raised.page(), index);
  states_.set(index, {write_phase::opening, true});
  const int number = raised.on().write_unprotect(raised.page(), wake_mode::dont_wake).number;
  states_.set(index, {write_phase::written, true});
  return number == 0 ? resolution::resolved() : give_up(raised, number);
}

void trapped_writes::show(page_range page, std::size_t index) noexcept {
  states_.set(index, {write_phase::shown, true});
  try {
    (*before_write_)(page);
  } catch (...) {
    fail(std::current_exception());
  }
  while (!states_.try_end_showing(index)) std::this_thread::yield();
}

// EAGAIN lasts until an event was read, which may be this thread's to do.
resolution trapped_writes::give_up(fault& raised, int number) noexcept {
  if (number == EAGAIN) return resolution::retry();
  if (number == ENOENT || number == ESRCH) return resolution::gone();
  fail(error_object(number, "tracked_memory: serving a page's fault"));
  return let_through(raised);
}

void trapped_writes::fail(std::exception_ptr error) noexcept {
  end(std::move(error));
  // What the kernel refuses to do at once, each page's fault does.
  static_cast<void>(on_.write_unprotect(memory_));
}

void trapped_writes::end(std::exception_ptr error) noexcept {
  const std::lock_guard lock(error_lock_);
  if (!error_) error_ = std::move(error);
  has_failed_.store(true);
}

void trapped_writes::rethrow_error() const {
  if (!has_failed_.load()) return;
  const std::lock_guard lock(error_lock_);
  std::rethrow_exception(error_);
}

trapping_client::~trapping_client() {
  if (by_) by_->end(error_object(ECANCELED, "tracked_memory: its handler has stopped"));
}

}  // namespace uffd::detail
