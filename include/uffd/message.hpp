// SPDX-License-Identifier: MIT
/// \file
/// The kernel's messages as typed events.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <type_traits>
#include <variant>

#include "uffd/detail/uapi.hpp"
#include "uffd/flags.hpp"
#include "uffd/page_range.hpp"

namespace uffd {

/// Why a thread waits, and so what wakes it.
enum class fault_kind : std::uint8_t {
  missing,             ///< copy, zeropage, move or poison
  minor,               ///< continue_, or poison
  write_protect,       ///< write_unprotect
  read_write_protect,  ///< read_write_unprotect, Linux 7.3
};

/// A thread touched a page and waits. The same page may be waited for by several threads, each with
/// a message of its own.
struct page_fault {
  /// Where; cut to its page unless feature::exact_address was negotiated.
  std::uintptr_t address = 0;
  /// The kernel's flags.
  flags<fault_flag> cause;
  /// Which thread, in the reader's PID namespace; only with feature::thread_id.
  std::optional<pid_t> thread_id;

  /// What it waits for.
  constexpr fault_kind kind() const noexcept {
    if (cause.has(fault_flag::write_protect)) return fault_kind::write_protect;
    if (cause.has(fault_flag::minor)) return fault_kind::minor;
    if (cause.has(fault_flag::read_write_protect)) return fault_kind::read_write_protect;
    return fault_kind::missing;
  }
  /// True if it was a write.
  constexpr bool is_write() const noexcept { return cause.has(fault_flag::write); }
};

/// The process forked; the child's memory is served through a descriptor of its own. This struct
/// doesn't own it: see message_reader::batch::take().
struct fork_event {
  int descriptor = -1;  ///< of the child's userfaultfd
};

/// mremap moved a range; its registration moved along.
struct remap_event {
  page_range from;        ///< where it was
  std::uintptr_t to = 0;  ///< where the same number of bytes begins now
};

/// MADV_DONTNEED, MADV_FREE or MADV_REMOVE drops a range. The caller goes on as soon as this is
/// read. It may begin and end inside a huge page.
struct remove_event {
  page_range range;  ///< what is dropped
};

/// A range was unmapped, also by a mapping placed over it or by mremap.
struct unmap_event {
  page_range range;  ///< what is gone
};

/// A message that this library has no type for.
struct unknown_event {
  std::uint8_t number = 0;  ///< the kernel's UFFD_EVENT_* number
  uapi::message raw{};      ///< all of it
};

/// One message. Trivially copyable: it owns nothing.
using event =
    std::variant<page_fault, fork_event, remap_event, remove_event, unmap_event, unknown_event>;
static_assert(std::is_trivially_copyable_v<event>);

namespace detail {

inline page_fault decode_fault(const uapi::message& raw, flags<feature> negotiated) noexcept {
  const auto& fault = raw.argument.page_fault;
  page_fault result{static_cast<std::uintptr_t>(fault.address),
                    flags<fault_flag>::from_bits(fault.flags), std::nullopt};
  if (negotiated.has(feature::thread_id)) result.thread_id = static_cast<pid_t>(fault.thread_id);
  return result;
}

}  // namespace detail

/// Turns a message into its event, given the features negotiated on its descriptor. Pure: any bytes
/// may be decoded, no descriptor is touched, and a message of unknown kind comes back whole.
inline event decode(const uapi::message& raw, flags<feature> negotiated) noexcept {
  const auto& argument = raw.argument;
  switch (raw.event) {
    case uapi::event::page_fault:
      return detail::decode_fault(raw, negotiated);
    case uapi::event::fork:
      return fork_event{static_cast<int>(argument.fork.descriptor)};
    case uapi::event::remap:
      return remap_event{{static_cast<std::uintptr_t>(argument.remap.from),
                          static_cast<std::size_t>(argument.remap.length)},
                         static_cast<std::uintptr_t>(argument.remap.to)};
    case uapi::event::remove:
      return remove_event{detail::range_between(argument.remove.start, argument.remove.end)};
    case uapi::event::unmap:
      return unmap_event{detail::range_between(argument.remove.start, argument.remove.end)};
    default:
      return unknown_event{raw.event, raw};
  }
}

}  // namespace uffd
