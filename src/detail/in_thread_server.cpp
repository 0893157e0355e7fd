// SPDX-License-Identifier: MIT
#include "in_thread_server.hpp"

#include <sched.h>
#include <signal.h>

#include <cerrno>
#include <utility>

#include "fault_kind.hpp"
#include "uffd/resolve.hpp"

namespace uffd::detail {

bool in_thread_server::serve_signal(const siginfo_t& info, const ucontext_t& context) noexcept {
  if (info.si_code != BUS_ADRERR) return false;
  auto* const ranges = signal_ranges::if_any();
  if (ranges == nullptr) return false;
  const auto address = reinterpret_cast<std::uintptr_t>(info.si_addr);
  std::optional<signal_ranges::guest> guest;
  ranges->find(address, [&](const range_table::entry& found) { guest.emplace(found); });
  // Raised before the range ended, and handled after it: whoever made the page readable meanwhile
  // could not wake this thread. Not asked whether it is: another range may have begun just now.
  if (!guest) return ranges->is_late(address);
  auto& range = guest->range();
  if (range.phase.load(std::memory_order_seq_cst) == served_range::state::open) [[likely]]
    return range.server->dispatch({*guest, address, cause_of(context)});
  // It begins or ends just now.
  guest.reset();
  pause_shortly();
  return true;
}

bool in_thread_server::dispatch(const raised_fault& raised) noexcept {
  const auto kind = kind_of(on(), raised.at.range().info, raised.address, raised.cause);
  // Nor may the range have been another one when it was raised.
  if (!kind) return signal_ranges::here().is_late(raised.address);
  const auto buffer = buffers_.borrow();
  if (!buffer) return settle(raised, *kind, resolution(std::errc::not_enough_memory));
  return settle(raised, *kind, call_by_trial(raised, *kind, buffer.bytes()));
}

// Where nothing could tell whether the page cache has the page, the first answer does.
in_thread_server::called in_thread_server::call_by_trial(const raised_fault& raised,
                                                         fault_kind kind,
                                                         std::span<std::byte> buffer) noexcept {
  const called first = call(raised, kind, buffer);
  const region_info& region = raised.at.range().info;
  if (!region.modes.has(register_mode::missing) || !region.modes.has(register_mode::minor))
    return first;
  const bool is_hole = kind == fault_kind::minor && first.answer.error() == std::errc::bad_address;
  if (is_hole) return call(raised, fault_kind::missing, buffer);
  // Nothing is installed where a page is swapped out, and nothing said that there is one.
  const bool is_swapped = kind == fault_kind::missing && first.answer.is_resolved() &&
                          !first.poisoned && region.page_size == page_size() &&
                          !is_in_core(raised.address);
  if (!is_swapped) return first;
  const called second = call(raised, fault_kind::minor, buffer);
  // Neither: somebody dropped the page that the first answer installed.
  return second.answer.error() == std::errc::bad_address ? called(resolution::retry()) : second;
}

in_thread_server::called in_thread_server::call(const raised_fault& raised, fault_kind kind,
                                                std::span<std::byte> buffer) noexcept {
  auto& range = raised.at.range();
  const pending_fault pending{message_of(on(), raised.address, kind, raised.cause.is_write),
                              space_.get(), 0, 0};
  const page_range page(align_down(raised.address, range.info.page_size), range.info.page_size);
  const range_table::entry whole{range.info.range};
  fault shown(nullptr, range, range.info, pending, page, whole, buffer);
  const resolution answer = client_.on_page_fault(client_.object, shown);
  if (shown.deferred_ || answer.kind() == resolution::state::deferred)
    return resolution(std::errc::not_supported);
  return {answer, shown.poisoned_};
}

namespace {

bool is_protected(const handle& on, std::uintptr_t address) noexcept {
  const auto page = state_of_page(on, address);
  return page && page->present && page->write_protected;
}

}  // namespace

bool in_thread_server::settle(const raised_fault& raised, fault_kind kind,
                              const called& by) noexcept {
  using state = resolution::state;
  switch (by.answer.kind()) {
    case state::resolved:
      return !by.poisoned;
    case state::retry:
      ::sched_yield();
      return true;
    case state::gone:
      if (is_readable(raised.address)) return true;
      break;
    case state::deferred:
    case state::failed:
      break;
  }
  const auto& region = raised.at.range().info;
  if (kind != fault_kind::write_protect && raised.cause.is_write &&
      region.modes.has(register_mode::write_protect) && is_protected(on(), raised.address))
    return true;  // the processor met no page, the kernel this one: it comes again as what it is
  const page_range page(align_down(raised.address, region.page_size), region.page_size);
  const auto error =
      by.answer.error() ? by.answer.error() : std::make_error_code(std::errc::bad_address);
  failure_.record({error, page, page.begin() - region.range.begin()});
  // As with a fault_handler: what failed is the client's record, not the writer's memory.
  return kind == fault_kind::write_protect &&
         resolve::unprotect(on(), page).kind() != state::failed;
}

}  // namespace uffd::detail
