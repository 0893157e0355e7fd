// SPDX-License-Identifier: MIT
/// \file
/// fmt::formatter for the library's values: `fmt::print("{}", event)`. The only header that needs
/// fmt (9 or newer), and no other header includes it. They take the options of a string:
/// `{:>40}`.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "uffd/error.hpp"
#include "uffd/fault_handler_options.hpp"
#include "uffd/flags.hpp"
#include "uffd/handler_statistics.hpp"
#include "uffd/latency_histogram.hpp"
#include "uffd/message.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/region_info.hpp"
#include "uffd/resolve.hpp"
#include "uffd/support.hpp"

namespace uffd::detail {

// A type becomes formattable by a text_of() here and a line at the end of this file.

template <class E>
std::string text_of(flags<E> set) {
  return to_string(set);
}
template <flag_type E>
std::string text_of(E flag) {
  return to_string(flags<E>(flag));
}

inline std::string text_of(page_range range) { return to_string(range); }

inline std::string_view text_of(condition value) {
  switch (value) {
    case condition::retry:
      return "retry";
    case condition::already_present:
      return "already_present";
    case condition::not_registered:
      return "not_registered";
    case condition::target_gone:
      return "target_gone";
  }
  return "unknown condition";
}

inline std::string text_of(const outcome& result) {
  if (result) return fmt::format("{} bytes", result.bytes);
  if (result.bytes == 0) return result.error().message();
  return fmt::format("{} bytes, then: {}", result.bytes, result.error().message());
}

inline std::string_view text_of(fault_kind kind) {
  switch (kind) {
    case fault_kind::missing:
      return "missing";
    case fault_kind::minor:
      return "minor";
    case fault_kind::write_protect:
      return "write_protect";
    case fault_kind::read_write_protect:
      return "read_write_protect";
  }
  return "unknown kind";
}

inline std::string text_of(const page_fault& fault) {
  auto text = fmt::format("{} {} at {:#x}", text_of(fault.kind()),
                          fault.is_write() ? "write" : "read", fault.address);
  if (fault.thread_id) text += fmt::format(" (thread {})", *fault.thread_id);
  constexpr auto named = fault_flag::write | fault_flag::write_protect | fault_flag::minor |
                         fault_flag::read_write_protect;
  if (const auto unnamed = fault.cause - named; !unnamed.empty())
    text += " with flags " + to_string(unnamed);
  return text;
}
inline std::string text_of(const fork_event& forked) {
  return fmt::format("fork (descriptor {})", forked.descriptor);
}
inline std::string text_of(const remap_event& moved) {
  return fmt::format("remap of {} to {:#x}", to_string(moved.from), moved.to);
}
inline std::string text_of(const remove_event& removed) {
  return "remove of " + to_string(removed.range);
}
inline std::string text_of(const unmap_event& unmapped) {
  return "unmap of " + to_string(unmapped.range);
}
inline std::string text_of(const unknown_event& unknown) {
  return fmt::format("unknown event {:#x}", unknown.number);
}
inline std::string text_of(const event& any) {
  return std::visit([](const auto& one) { return text_of(one); }, any);
}

inline std::string_view text_of(resolution::state kind) {
  switch (kind) {
    case resolution::state::resolved:
      return "resolved";
    case resolution::state::retry:
      return "retry";
    case resolution::state::gone:
      return "gone";
    case resolution::state::deferred:
      return "deferred";
    case resolution::state::failed:
      return "failed";
  }
  return "unknown state";
}
inline std::string text_of(const resolution& answer) {
  std::string text(text_of(answer.kind()));
  if (answer.kind() == resolution::state::failed) text += ": " + answer.error().message();
  return text;
}

inline std::string_view text_of(close_policy policy) {
  return policy == close_policy::inaccessible ? "inaccessible" : "leave_zero";
}
inline std::string_view text_of(memory_owner owner) {
  return owner == memory_owner::this_process ? "this_process" : "another_process";
}
inline std::string_view text_of(kernel_fault_policy policy) {
  switch (policy) {
    case kernel_fault_policy::if_permitted:
      return "if_permitted";
    case kernel_fault_policy::required:
      return "required";
    case kernel_fault_policy::never:
      return "never";
  }
  return "unknown policy";
}
inline std::string_view text_of(open_path via) {
  switch (via) {
    case open_path::device_then_system_call:
      return "device_then_system_call";
    case open_path::device:
      return "device";
    case open_path::system_call:
      return "system_call";
  }
  return "unknown path";
}
inline std::string text_of(const open_options& options) {
  return fmt::format("required {}, optional {}, kernel faults {}, via {}",
                     to_string(options.required), to_string(options.optional),
                     text_of(options.kernel_faults), text_of(options.via));
}

inline std::string text_of(const region_info& info) {
  return fmt::format("{} of {} byte pages for {}, offering {}, tag {}", to_string(info.range),
                     info.page_size, to_string(info.modes), to_string(info.ioctls), info.tag);
}

inline std::string text_of(const support& found) { return found.table(); }

inline std::string_view text_of(stop_policy policy) {
  switch (policy) {
    case stop_policy::inaccessible:
      return "inaccessible";
    case stop_policy::hand_over:
      return "hand_over";
    case stop_policy::leave_zero:
      return "leave_zero";
  }
  return "unknown policy";
}
inline std::string_view text_of(fork_policy policy) {
  return policy == fork_policy::follow ? "follow" : "not_inherited";
}

inline std::string text_of(const latency_histogram& latencies) {
  const auto nanoseconds = [&](double fraction) { return latencies.percentile(fraction).count(); };
  return fmt::format("{} in all, p50 {} ns, p99 {} ns, max {} ns", latencies.total(),
                     nanoseconds(0.5), nanoseconds(0.99), latencies.maximum().count());
}
inline std::string text_of(const handler_statistics& counted) {
  return fmt::format(
      "faults: {} missing, {} minor, {} write_protect, {} read_write_protect; answers: {} "
      "resolved, "
      "{} retried, {} gone, {} deferred, {} failed; {} strangers, {} dropped, {} events, {} empty "
      "reads, {} children; latency: {}",
      counted.missing, counted.minor, counted.write_protect, counted.read_write_protect,
      counted.resolved, counted.retried, counted.gone, counted.deferred, counted.failed,
      counted.strangers, counted.dropped, counted.events, counted.empty_reads, counted.children,
      text_of(counted.latency));
}

// After every text_of(), for it finds only those above.
template <class T>
struct formatter_of : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const T& value, Context& context) const {
    return fmt::formatter<std::string_view>::format(std::string_view(text_of(value)), context);
  }
};

}  // namespace uffd::detail

// Whole specialisations where that is possible: fmt/std.h and fmt/ranges.h have partial ones that
// would match as well (a variant, something with begin and end).
namespace fmt {

template <class E>
struct formatter<uffd::flags<E>> : uffd::detail::formatter_of<uffd::flags<E>> {};
template <uffd::detail::flag_type E>
struct formatter<E> : uffd::detail::formatter_of<E> {};
template <>
struct formatter<uffd::page_range> : uffd::detail::formatter_of<uffd::page_range> {};
template <>
struct formatter<uffd::condition> : uffd::detail::formatter_of<uffd::condition> {};
template <>
struct formatter<uffd::outcome> : uffd::detail::formatter_of<uffd::outcome> {};
template <>
struct formatter<uffd::fault_kind> : uffd::detail::formatter_of<uffd::fault_kind> {};
template <>
struct formatter<uffd::page_fault> : uffd::detail::formatter_of<uffd::page_fault> {};
template <>
struct formatter<uffd::fork_event> : uffd::detail::formatter_of<uffd::fork_event> {};
template <>
struct formatter<uffd::remap_event> : uffd::detail::formatter_of<uffd::remap_event> {};
template <>
struct formatter<uffd::remove_event> : uffd::detail::formatter_of<uffd::remove_event> {};
template <>
struct formatter<uffd::unmap_event> : uffd::detail::formatter_of<uffd::unmap_event> {};
template <>
struct formatter<uffd::unknown_event> : uffd::detail::formatter_of<uffd::unknown_event> {};
template <>
struct formatter<uffd::event> : uffd::detail::formatter_of<uffd::event> {};
template <>
struct formatter<uffd::resolution::state> : uffd::detail::formatter_of<uffd::resolution::state> {};
template <>
struct formatter<uffd::resolution> : uffd::detail::formatter_of<uffd::resolution> {};
template <>
struct formatter<uffd::close_policy> : uffd::detail::formatter_of<uffd::close_policy> {};
template <>
struct formatter<uffd::memory_owner> : uffd::detail::formatter_of<uffd::memory_owner> {};
template <>
struct formatter<uffd::kernel_fault_policy>
    : uffd::detail::formatter_of<uffd::kernel_fault_policy> {};
template <>
struct formatter<uffd::open_path> : uffd::detail::formatter_of<uffd::open_path> {};
template <>
struct formatter<uffd::open_options> : uffd::detail::formatter_of<uffd::open_options> {};
template <>
struct formatter<uffd::region_info> : uffd::detail::formatter_of<uffd::region_info> {};
template <>
struct formatter<uffd::support> : uffd::detail::formatter_of<uffd::support> {};
template <>
struct formatter<uffd::stop_policy> : uffd::detail::formatter_of<uffd::stop_policy> {};
template <>
struct formatter<uffd::fork_policy> : uffd::detail::formatter_of<uffd::fork_policy> {};
template <>
struct formatter<uffd::latency_histogram> : uffd::detail::formatter_of<uffd::latency_histogram> {};
template <>
struct formatter<uffd::handler_statistics> : uffd::detail::formatter_of<uffd::handler_statistics> {
};

}  // namespace fmt
