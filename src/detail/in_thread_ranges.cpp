// SPDX-License-Identifier: MIT
// Ranges of a sigbus_handler that come and go, and what their end leaves behind.
#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "in_thread_server.hpp"
#include "sigbus_action.hpp"
#include "uffd/detail/close_range.hpp"
#include "uffd/error.hpp"

namespace uffd::detail {

in_thread_server::in_thread_server(handle on, callbacks client,
                                   const sigbus_handler_options& options)
    : home_(process_mark::here()),
      client_(std::move(client)),
      space_(std::make_shared<address_space>(std::move(on), 0)),
      buffers_(options.buffers, options.buffer_size) {
  check_handle();
  signal_ranges::here().add_handler([] { install_sigbus_action(&in_thread_server::serve_signal); });
}

open_options in_thread_server::options_for(const sigbus_handler_options& options) {
  open_options open = options.open;
  if (open.kernel_faults == kernel_fault_policy::required)
    throw_errno(EINVAL, "sigbus handler: faults from system calls can't be served in their thread");
  open.required |= feature::sigbus;
  return open;
}

void in_thread_server::check_handle() const {
  if (on().fd() < 0) throw_errno(EBADF, "sigbus handler: a moved-from handle");
  if (!on().features().has(feature::sigbus))
    throw_errno(EINVAL, "sigbus handler: the handle lacks the feature sigbus");
  if (const auto unheard = on().features() & event_features; !unheard.empty())
    throw_errno(EINVAL, "sigbus handler: nobody would read " + to_string(unheard) +
                            ", which the handle negotiated");
  if (on().foreign())
    throw_errno(EINVAL, "sigbus handler: the handle serves the memory of another process");
}

void in_thread_server::check_serve(const region_info& info) const {
  if (in_child()) throw_errno(EOWNERDEAD, "serve: in a forked child");
  check_alignment(info);
  if (info.page_size > buffers_.buffer_size())
    throw_errno(EINVAL, "serve: pages of " + std::to_string(info.page_size) +
                            " bytes need a larger sigbus_handler_options::buffer_size");
  if (info.modes.has(register_mode::read_write_protect))
    throw_errno(EINVAL, "serve: a signal can't tell read_write_protect from missing");
}

// It is in the table before it is registered: no signal can come that nobody knows.
void in_thread_server::open_range(served_range& range) const {
  signal_ranges::here().add(range);
  try {
    range.info.ioctls = on().register_range(range.info.range, range.info.modes);
  } catch (...) {
    signal_ranges::here().withdraw(range);
    throw;
  }
  range.phase.store(served_range::state::open, std::memory_order_seq_cst);
}

served_region in_thread_server::serve(page_range where, std::optional<mapping> memory,
                                      const serve_options& options) {
  const auto range = std::make_shared<served_range>();
  range->info = {where, options.page_size, options.modes, {}, options.tag};
  check_serve(range->info);
  if (memory) memory->keep_from_children();
  range->on_end = options.on_end;
  range->memory = std::move(memory);
  range->server = this;
  const std::lock_guard lock(control_);
  ranges_.reserve(ranges_.size() + 1);  // nothing may fail once it is served
  open_range(*range);
  ranges_.push_back(range);
  return {shared_from_this(), range};
}

// Signals that come meanwhile wait, and after it find no range.
void in_thread_server::close_range(served_range& range) noexcept {
  range.phase.store(served_range::state::closing, std::memory_order_seq_cst);
  signal_ranges::wait_for_guests(range);
  const std::lock_guard lock(control_);
  if (range.closed_by) return;
  auto policy = range.complete.load() ? close_policy::leave_zero : range.on_end;
  range.closed_by = policy;
  // Protected as a whole, before memory of ours is unmapped, nothing in it needs to be told apart.
  if (range.memory && policy == close_policy::inaccessible &&
      protect_from_access(on(), range.info.range, range.info.page_size))
    policy = close_policy::leave_zero;
  detail::close_range(on(), range.info, policy);
  signal_ranges::here().remove(range);
  std::erase_if(ranges_, [&](const auto& listed) { return listed.get() == &range; });
}

void in_thread_server::end_range(served_range& range) noexcept {
  if (in_child()) return;
  close_range(range);
  range.memory.reset();
}

std::shared_ptr<served_range> in_thread_server::last_range() noexcept {
  const std::lock_guard lock(control_);
  return ranges_.empty() ? nullptr : ranges_.back();
}

void in_thread_server::close() noexcept {
  if (in_child()) return;
  while (const auto range = last_range()) close_range(*range);
  client_ = {};
  signal_ranges::here().remove_handler();
}

void in_thread_server::rethrow_error() {
  if (const auto failed = failure_.take())
    throw std::system_error(failed->error, "serving the page fault at " + to_string(failed->page) +
                                               ", offset " + std::to_string(failed->offset));
}

}  // namespace uffd::detail
