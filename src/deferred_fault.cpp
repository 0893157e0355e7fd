// SPDX-License-Identifier: MIT
#include "uffd/deferred_fault.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include "detail/address_space.hpp"
#include "detail/copy_page.hpp"
#include "detail/engine.hpp"

namespace uffd {

deferred_fault fault::defer() noexcept {
  deferred_ = true;
  return deferred_fault(*this);
}

// NOLINTNEXTLINE(bugprone-exception-escape): what is pending is owned by a shared_ptr
deferred_fault::deferred_fault(const fault& from) noexcept
    : pending_(from.pending_),
      region_(*from.region_),
      page_(from.page_),
      piece_(from.piece_),
      offset_(from.offset_) {
  if (from.owner_ == nullptr) return;
  owner_ = from.owner_->shared_from_this();
  client_ = from.client_->shared_from_this();
  space_ = from.pending_.space->shared_from_this();
  state_ = state::waiting;
}

deferred_fault::deferred_fault(deferred_fault&& other) noexcept
    : owner_(std::move(other.owner_)),
      client_(std::move(other.client_)),
      space_(std::move(other.space_)),
      pending_(other.pending_),
      region_(other.region_),
      page_(other.page_),
      piece_(other.piece_),
      offset_(other.offset_),
      state_(std::exchange(other.state_, state::done)) {}

deferred_fault& deferred_fault::operator=(deferred_fault&& other) noexcept {
  if (this == &other) return *this;
  end();
  owner_ = std::move(other.owner_);
  client_ = std::move(other.client_);
  space_ = std::move(other.space_);
  pending_ = other.pending_;
  region_ = other.region_;
  page_ = other.page_;
  piece_ = other.piece_;
  offset_ = other.offset_;
  state_ = std::exchange(other.state_, state::done);
  return *this;
}

deferred_fault::~deferred_fault() { end(); }

std::size_t deferred_fault::space() const noexcept { return space_ ? space_->number : 0; }

// As a guest of the range: its end waits for us, or we see that it ends.
template <class Operation>
resolution deferred_fault::guarded(page_range range, bool wakes, Operation&& operation) noexcept {
  if (state_ == state::done) return resolution::gone();
  if (range.empty() || !piece_.contains(range)) return std::errc::invalid_argument;
  client_->guests.fetch_add(1, std::memory_order_seq_cst);
  const auto phase = client_->phase.load(std::memory_order_seq_cst);
  resolution result = resolution::gone();
  if (phase == detail::served_range::state::open)
    result = owner_->install(pending_, page_, range, operation);
  else if (client_->is_handed_over())
    static_cast<void>(space_->on.wake(page_));
  client_->guests.fetch_sub(1, std::memory_order_seq_cst);
  switch (result.kind()) {
    // Filled but not woken: that is left to the end of this.
    case resolution::state::resolved:
      state_ = wakes ? state::done : state::retried;
      break;
    case resolution::state::gone:
      state_ = state::done;
      break;
    case resolution::state::retry:
      state_ = state::retried;
      break;
    case resolution::state::deferred:
    case resolution::state::failed:
      break;
  }
  return result;
}

resolution deferred_fault::copy(std::span<const std::byte> from, flags<fill_mode> mode) noexcept {
  return guarded({page_.begin(), from.size()}, !mode.has(fill_mode::dont_wake),
                 [&] { return detail::copy_page(space_->on, page_, page_.begin(), from, mode); });
}

resolution deferred_fault::zeropage() noexcept {
  return guarded(page_, true, [&] { return resolve::zeropage(space_->on, page_, page_.size()); });
}

resolution deferred_fault::continue_(flags<fill_mode> mode) noexcept {
  return guarded(page_, !mode.has(fill_mode::dont_wake), [&] {
    const auto result = resolve::continue_(space_->on, page_, mode, page_.size());
    if (result.is_resolved() && detail::pages_without_progress.are_any()) [[unlikely]]
      detail::note_progress(space_->on, page_, page_);
    return result;
  });
}

resolution deferred_fault::move(page_range from, flags<move_mode> mode) noexcept {
  return guarded({page_.begin(), from.size()}, !mode.has(move_mode::dont_wake), [&] {
    return resolve::move(space_->on, page_.begin(), from, mode, page_.size());
  });
}

resolution deferred_fault::unprotect() noexcept {
  return guarded(page_, true, [&] {
    return pending_.event.kind() == fault_kind::read_write_protect
               ? resolve::read_write_unprotect(space_->on, page_)
               : resolve::unprotect(space_->on, page_);
  });
}

resolution deferred_fault::poison() noexcept {
  return guarded(page_, true, [&] { return resolve::poison(space_->on, page_, page_.size()); });
}

resolution deferred_fault::fail(std::error_code error) noexcept {
  if (state_ == state::done) return resolution::gone();
  // After the end of its range nothing is left that could fail.
  if (client_->phase.load(std::memory_order_seq_cst) == detail::served_range::state::open)
    owner_->record_failure("serving the deferred page fault", error, page_, offset_);
  return guarded(page_, true,
                 [&] { return owner_->fail_closed(space_->on, pending_.event, page_, region_); });
}

void deferred_fault::end() noexcept {
  if (state_ == state::done || owner_->in_child()) return;
  if (state_ == state::waiting)
    static_cast<void>(fail(std::make_error_code(std::errc::operation_canceled)));
  if (state_ != state::done) static_cast<void>(space_->on.wake(page_));
  state_ = state::done;
}

}  // namespace uffd
