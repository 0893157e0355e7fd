// SPDX-License-Identifier: MIT
/// \file
/// Where the pages of a pager come from, and go to: what a source has, and how it says what failed.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

#include "uffd/detail/export.hpp"

namespace uffd {

/// Why a source gave no bytes, or took none, where no errno says it.
enum class source_error {
  /// It may do so a moment later: a pager tries again until its deadline.
  transient = 1,
  /// It no longer has what it had when it was opened.
  changed,
  /// It is not there any more.
  gone,
  /// It gave fewer bytes than it has.
  incomplete,
};

/// Makes std::error_code from uffd::source_error; its category is called "page source".
UFFDPP_EXPORT std::error_code make_error_code(source_error value) noexcept;

/// Whether it is worth while to ask again: source_error::transient, and the errnos that pass by
/// themselves (EAGAIN, EINTR, EBUSY, ENOMEM, ENOBUFS, ETIMEDOUT, and of connections ECONNREFUSED,
/// ECONNRESET, ECONNABORTED, EPIPE, ENETDOWN, ENETRESET, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH).
UFFDPP_EXPORT bool is_transient(std::error_code error) noexcept;

/// What a read gave.
struct read_result {
  /// Bytes read, from the first on. All that were asked for, unless there is an error.
  std::size_t bytes = 0;
  /// Why there are no more, or none.
  std::error_code error;
};

/// How a source is read best.
struct source_advice {
  /// Bytes that are best read at once, at a multiple of as many; 0: no preference. A wish only:
  /// parts of it are read where there is no room for more, or where the rest is there already.
  std::size_t unit = 0;
};

/// Anything that has bytes. `read(offset, to)` fills all of `to`, which is never empty and lies
/// within `size()`, or says why not. It is called by several threads at once, and may block: a
/// thread that touched the page waits as long. An exception counts as its std::system_error's code,
/// any other as EIO. size() must not change.
///
/// It may have too:
/// - `std::error_code write(offset, from)`: takes all of `from`, or says why not (writable_source);
/// - `std::error_code flush()`: returns once all that was written will outlast a crash;
/// - `bool is_writable() const`: false where write() can't be used after all;
/// - `std::string identity() const`: equal only where all bytes are;
/// - `source_advice advice() const`;
/// - `std::span<const std::byte> bytes() const`: all of it, where it lies in memory that this
///   process may read at any time without a fault of its own pager.
template <class S>
concept page_source = requires(const S& source, std::uint64_t offset, std::span<std::byte> to) {
  { source.size() } -> std::convertible_to<std::uint64_t>;
  { source.read(offset, to) } -> std::same_as<read_result>;
};

/// A source that can be written to; from several threads at once, though never the same bytes.
template <class S>
concept writable_source = page_source<S> &&
    requires(S& source, std::uint64_t offset, std::span<const std::byte> from) {
  { source.write(offset, from) } -> std::same_as<std::error_code>;
};

}  // namespace uffd

template <>
struct std::is_error_code_enum<uffd::source_error> : std::true_type {};
