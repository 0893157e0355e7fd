// SPDX-License-Identifier: MIT
/// \file
/// What an operation on the fault path answers, and the conditions that are normal there.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>
#include <type_traits>

namespace uffd {

/// The answers of the kernel that a fault handler must expect and act on; compare them with an
/// error: `if (outcome.error() == uffd::condition::retry)`.
enum class condition {
  /// EAGAIN: the address space is changing (an event is unread, or was read a moment ago), or only
  /// a part was done. Read events and try again a little later.
  retry = 1,
  /// EEXIST: a page (or a marker) is there already, or no huge page is left. Nobody was woken.
  already_present,
  /// ENOENT: the range isn't registered, was unmapped, or crosses the border of a mapping.
  not_registered,
  /// ESRCH: the process has exited, or replaced its memory by exec.
  target_gone,
};

namespace detail {

class condition_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "userfaultfd"; }

  std::string message(int value) const override {
    switch (static_cast<condition>(value)) {
      case condition::retry:
        return "the address space is changing: read events and try again";
      case condition::already_present:
        return "a page is already present";
      case condition::not_registered:
        return "the range is not registered";
      case condition::target_gone:
        return "the process is gone";
    }
    return "unknown condition";
  }

  bool equivalent(const std::error_code& code, int value) const noexcept override {
    if (code.category() != std::system_category() && code.category() != std::generic_category())
      return false;
    switch (static_cast<condition>(value)) {
      case condition::retry:
        return code.value() == EAGAIN;
      case condition::already_present:
        return code.value() == EEXIST;
      case condition::not_registered:
        return code.value() == ENOENT;
      case condition::target_gone:
        return code.value() == ESRCH;
    }
    return false;
  }
};

inline const condition_category condition_category_instance;

}  // namespace detail

/// Makes uffd::condition comparable with std::error_code.
inline std::error_condition make_error_condition(condition value) noexcept {
  return {static_cast<int>(value), detail::condition_category_instance};
}

/// What an operation on the fault path did: the bytes done, and the errno that ended it (0: none).
/// Both can be set: a partial COPY leaves bytes and EAGAIN. Never throws, never allocates.
struct [[nodiscard]] outcome {
  /// Bytes done, counted from the start of the range.
  std::size_t bytes = 0;
  /// The errno, or 0.
  int number = 0;

  /// The errno as an error code of std::system_category().
  std::error_code error() const noexcept { return {number, std::system_category()}; }
  /// True if all was done.
  explicit operator bool() const noexcept { return number == 0; }
};

namespace detail {

[[noreturn]] inline void throw_errno(int number, const std::string& what) {
  throw std::system_error(number, std::system_category(), what);
}

}  // namespace detail
}  // namespace uffd

template <>
struct std::is_error_condition_enum<uffd::condition> : std::true_type {};
