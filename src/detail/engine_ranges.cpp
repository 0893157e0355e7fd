// SPDX-License-Identifier: MIT
// Ranges that come and go while the workers run, and what their end leaves behind.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>

#include "engine.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/detail/syscall.hpp"
#include "uffd/error.hpp"
#include "worker.hpp"

namespace uffd::detail {

void engine::list(const std::shared_ptr<served_range>& range, address_space& space) {
  const std::lock_guard lock(control_);
  apply_events();
  if (stop_requested_.load()) throw_errno(ECANCELED, "serve: the handler has stopped");
  ranges_.reserve(ranges_.size() + 1);  // nothing may fail once readers see the table
  change_table(space, [&](range_table& table) {
    table.insert(range->info.range, range.get(), range->info.offset, range->info.removed);
  });
  ranges_.push_back(range);
}

void engine::unlist(const served_range& range) {
  {
    const std::lock_guard lock(control_);
    apply_events();
    for_each_space([&](address_space& space) {
      change_table(space, [&](range_table& table) { table.erase_client(&range); });
    });
    const auto mine = std::find_if(ranges_.begin(), ranges_.end(),
                                   [&](const auto& listed) { return listed.get() == &range; });
    if (mine != ranges_.end()) {
      epochs_.retire(std::move(*mine));
      ranges_.erase(mine);
    }
  }
  // Nobody else does while the workers sleep.
  epochs_.collect(nullptr);
}

void engine::check_serve(const callbacks& client, const region_info& info) const {
  if (in_child()) throw_errno(EOWNERDEAD, "serve: in a forked child");
  check_alignment(info);
  if (info.page_size > buffer_size_)
    throw_errno(EINVAL, "serve: pages of " + std::to_string(info.page_size) +
                            " bytes need a larger fault_handler_options::buffer_size");
  if (const auto missing = client.needed - on().features(); !missing.empty())
    throw_errno(EINVAL, "serve: the callbacks need " + to_string(missing) +
                            ", which the handle did not negotiate");
}

// The range is in the table before it is registered: no fault can come that nobody knows.
void engine::open_range(served_range& range) {
  range.info.ioctls = on().register_range(range.info.range, range.info.modes);
  if (follows_forks_ && !range.info.ioctls.has(range_ioctl::poison)) {
    close_range(on(), range.info, close_policy::leave_zero);  // it never was served
    throw_errno(EOPNOTSUPP, "serve: forks can't be followed without " +
                                to_string(flags(feature::poison)) + ", which this kernel lacks");
  }
  const std::lock_guard lock(control_);
  if (closing_.load()) {
    close_range(on(), range.info, close_policy::leave_zero);  // as above
    throw_errno(ECANCELED, "serve: the handler has stopped");
  }
  range.phase.store(served_range::state::open, std::memory_order_seq_cst);
}

served_region engine::serve(page_range where, std::optional<mapping> memory, callbacks client,
                            const serve_options& options) {
  const auto range = std::make_shared<served_range>();
  range->info = {where, options.page_size, options.modes, {}, options.tag};
  check_serve(client, range->info);
  if (memory && !follows_forks_) memory->keep_from_children();
  range->client = std::move(client);
  range->on_end = options.on_end;
  range->memory = std::move(memory);
  list(range, *own_);
  try {
    open_range(*range);
  } catch (...) {
    unlist(*range);
    throw;
  }
  return {shared_from_this(), range};
}

namespace {

// Only who registered was told. What may not be there is refused when it is tried.
flags<range_ioctl> offered_ioctls(flags<feature> features, const region_info& registered) {
  flags<range_ioctl> offered = range_ioctl::wake | range_ioctl::copy | range_ioctl::poison;
  if (registered.page_size == page_size()) offered |= range_ioctl::zeropage;
  if (registered.modes.has(register_mode::write_protect)) offered |= range_ioctl::write_protect;
  if (registered.modes.has(register_mode::minor)) offered |= range_ioctl::continue_;
  if (features.has(feature::move)) offered |= range_ioctl::move;
  return offered;
}

}  // namespace

void engine::serve_registered_in(address_space& space, const region_info& registered) {
  const auto range = std::make_shared<served_range>();
  range->info = registered;
  if (registered.ioctls.empty()) range->info.ioctls = offered_ioctls(on().features(), registered);
  range->client = default_client();
  check_serve(range->client, registered);
  range->phase.store(served_range::state::open);
  list(range, space);
}

void engine::serve_registered(const region_info& registered) {
  serve_registered_in(*own_, registered);
}

void engine::take_over(const handed_over& served) {
  own_->lent = served.lent;
  for (const auto& registered : served.regions) serve_registered_in(*own_, registered);
  if (!served.children.empty() && !follows_forks_)
    throw_errno(EINVAL, "fault handler: children were handed over, but forks are not followed");
  for (const auto& child : served.children) {
    const auto space = add_child(handle_access::share(child.on), std::make_shared<range_table>());
    space->lent = child.lent;
    for (const auto& registered : child.regions) serve_registered_in(*space, registered);
  }
}

void engine::wait_for_callbacks(const served_range& range) noexcept {
  const auto busy = [&] {
    for (std::size_t i = 0; i < epochs_.readers(); ++i) {
      const reader_slot& slot = epochs_.slot(i);
      if (&slot != worker::current_slot() && slot.current.load(std::memory_order_seq_cst) == &range)
        return true;
    }
    return range.guests.load(std::memory_order_seq_cst) != 0;
  };
  while (busy()) call_sleep(20'000);
}

// With the control lock held.
void engine::close_everywhere(served_range& range, close_policy policy) noexcept {
  if (range.closed_by) return;
  range.closed_by = policy;
  for_each_space(
      [&](address_space& space) { close_in(space, range, [&](page_range) { return policy; }); });
}

// With the control lock held, before memory of ours is unmapped: protected as a whole, nothing in
// it needs to be told apart. What was moved out of it does.
void engine::close_owned(served_range& range) noexcept {
  if (range.closed_by) return;
  range.closed_by = range.on_end;
  const page_range memory = range.memory->range();
  for_each_space([&](address_space& space) {
    close_in(space, range, [&](page_range piece) {
      const bool leave = &space == own_.get() && memory.contains(piece) &&
                         protect_from_access(on(), piece, range.info.page_size);
      return leave ? close_policy::leave_zero : range.on_end;
    });
  });
}

// A COPY that can't install anything, whatever another process has at that address: its source
// can't be read. ESRCH once the memory is gone, EAGAIN while an event of it is under way.
outcome engine::state_of(const address_space& space) const noexcept {
  return space.on.copy(probe_->range().begin(), probe_->bytes());
}

// A child that was copied before the end must find the range in the table, where it is closed too.
void engine::wait_for_forks_under_way() noexcept {
  if (!probe_) return;
  patience left;
  const auto fruitless = fruitless_reads();
  while (fruitless_reads() - fruitless < most_fruitless_reads) {
    bool some = false;
    bool let_go = false;
    {
      const std::lock_guard lock(control_);
      for_each_space([&](address_space& space) {
        if (state_of(space).error() != condition::retry) return;
        some = true;
        let_go = take_in(space) || let_go;
        wake_unanswered(space);
      });
    }
    if (!some || !left.wait(let_go)) return;
  }
}

void engine::end_range(served_range& range) noexcept {
  if (in_child()) return;
  auto before = served_range::state::open;
  if (!range.phase.compare_exchange_strong(before, served_range::state::closing) &&
      before == served_range::state::handed_over)
    range.phase.store(served_range::state::left, std::memory_order_seq_cst);
  wait_for_callbacks(range);
  // Left for whoever takes over.
  if (before == served_range::state::handed_over && !range.memory) return;
  {
    const std::lock_guard lock(control_);
    apply_events();
    if (range.memory)
      close_owned(range);
    else
      close_everywhere(range, range.on_end);
  }
  wait_for_forks_under_way();
  unlist(range);
  range.memory.reset();
}

void engine::close_once() noexcept {
  if (closing_.exchange(true)) return;
  const auto policy = policy_.load(std::memory_order_acquire);
  const bool handed_over = policy == stop_policy::hand_over;
  {
    const std::lock_guard lock(control_);
    apply_events();
    for (const auto& range : ranges_) {
      auto open = served_range::state::open;
      range->phase.compare_exchange_strong(
          open, handed_over ? served_range::state::handed_over : served_range::state::closing);
    }
    const auto left =
        policy == stop_policy::leave_zero ? close_policy::leave_zero : close_policy::inaccessible;
    // What is still being registered is closed by whoever registers it.
    for (const auto& range : ranges_)
      if (!handed_over && range->phase.load() != served_range::state::starting)
        close_everywhere(*range, left);
  }
  closed_.store(true, std::memory_order_release);
  nudge();
}

void engine::release_clients() noexcept {
  std::vector<callbacks> released;
  const std::lock_guard lock(control_);
  for (const auto& range : ranges_) released.push_back(std::exchange(range->client, {}));
  released.push_back(std::exchange(client_, {}));
}

handed_over engine::hand_over() {
  const std::lock_guard lock(control_);
  apply_events();
  const auto of_space = [](const address_space& space) {
    handed_over one(handle_access::share(space.on));
    one.lent = space.lent;
    for (const auto& piece : space.current->entries()) {
      const auto& range = *static_cast<const served_range*>(piece.client);
      if (range.closed_by || !range.is_handed_over()) continue;
      one.regions.push_back(range.info);
      one.regions.back().range = piece.range;
      one.regions.back().offset = piece.offset;
      one.regions.back().removed = piece.removed;
    }
    return one;
  };
  handed_over all = of_space(*own_);
  for (const auto& child : child_spaces_) all.children.push_back(of_space(*child));
  return all;
}

}  // namespace uffd::detail
