// SPDX-License-Identifier: MIT
/// \file
/// Sets of flags that keep bits they don't know, and the kernel's flags by name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "uffd/detail/uapi.hpp"

namespace uffd {

/// A flag and its name, in lists that printing and error messages share.
template <class E>
struct flag_name {
  E flag;                 ///< one bit
  std::string_view name;  ///< the kernel's word for it, in lower case
};

namespace detail {
// Giving an enumeration names makes it a flag type.
template <class E>
inline constexpr std::array<flag_name<E>, 0> flag_names{};
template <class E>
concept flag_type = std::is_enum_v<E> && !flag_names<E>.empty();
}  // namespace detail

/// A set of flags of one type. Sets of different types don't convert into each other; bits that
/// this library has no name for are kept. All operations are constexpr and never throw.
template <class E>
class flags {
 public:
  /// The empty set.
  constexpr flags() noexcept = default;
  /// The set of one flag.
  constexpr flags(E flag) noexcept : bits_(static_cast<std::uint64_t>(flag)) {}

  /// The set with exactly these bits, named or not.
  static constexpr flags from_bits(std::uint64_t bits) noexcept {
    flags result;
    result.bits_ = bits;
    return result;
  }
  /// The bits as the kernel counts them.
  constexpr std::uint64_t bits() const noexcept { return bits_; }

  /// True if all of `other` is in this set.
  constexpr bool has(flags other) const noexcept { return (bits_ & other.bits_) == other.bits_; }
  /// True if any of `other` is in this set.
  constexpr bool has_any(flags other) const noexcept { return (bits_ & other.bits_) != 0; }
  /// True if no flag is set.
  constexpr bool empty() const noexcept { return bits_ == 0; }

  /// Union.
  friend constexpr flags operator|(flags a, flags b) noexcept {
    return from_bits(a.bits_ | b.bits_);
  }
  /// Intersection.
  friend constexpr flags operator&(flags a, flags b) noexcept {
    return from_bits(a.bits_ & b.bits_);
  }
  /// What is in `a` and not in `b`.
  friend constexpr flags operator-(flags a, flags b) noexcept {
    return from_bits(a.bits_ & ~b.bits_);
  }
  /// Adds `other`.
  constexpr flags& operator|=(flags other) noexcept { return *this = *this | other; }
  /// Takes `other` away.
  constexpr flags& operator-=(flags other) noexcept { return *this = *this - other; }
  /// Same bits.
  friend constexpr bool operator==(flags, flags) noexcept = default;

 private:
  std::uint64_t bits_ = 0;
};

/// `a | b` of two flags is the set of both.
template <detail::flag_type E>
constexpr flags<E> operator|(E a, E b) noexcept {
  return flags<E>(a) | flags<E>(b);
}

/// UFFD_FEATURE_*: what UFFDIO_API negotiates. man 2 UFFDIO_API; bits 17 and 18 are of Linux 7.3.
enum class feature : std::uint64_t {
  pagefault_flag_wp = 1ULL << 0,    ///< write-protect mode exists (Linux 5.7)
  event_fork = 1ULL << 1,           ///< follow forks; needs CAP_SYS_PTRACE (4.11)
  event_remap = 1ULL << 2,          ///< follow mremap (4.11)
  event_remove = 1ULL << 3,         ///< hear of MADV_DONTNEED, MADV_FREE, MADV_REMOVE (4.11)
  missing_hugetlbfs = 1ULL << 4,    ///< missing faults on huge pages (4.11)
  missing_shmem = 1ULL << 5,        ///< missing faults on shared memory (4.11)
  event_unmap = 1ULL << 6,          ///< hear of munmap (4.11)
  sigbus = 1ULL << 7,               ///< SIGBUS in the faulting thread, no messages (4.14)
  thread_id = 1ULL << 8,            ///< faults name their thread (4.14)
  minor_hugetlbfs = 1ULL << 9,      ///< minor faults on huge pages (5.13)
  minor_shmem = 1ULL << 10,         ///< minor faults on shared memory (5.14)
  exact_address = 1ULL << 11,       ///< addresses are not cut to their page (5.18)
  wp_hugetlbfs_shmem = 1ULL << 12,  ///< write-protect on huge pages and shared memory (5.19)
  wp_unpopulated = 1ULL << 13,      ///< write-protect marks missing anonymous pages too (6.4)
  poison = 1ULL << 14,              ///< UFFDIO_POISON (6.6)
  wp_async = 1ULL << 15,            ///< the kernel resolves write-protect faults itself (6.7)
  move = 1ULL << 16,                ///< UFFDIO_MOVE (6.8)
  rwp = 1ULL << 17,                 ///< trap every access to present pages (7.3)
  rwp_async = 1ULL << 18,           ///< the kernel resolves those faults itself (7.3)
};

/// UFFDIO_REGISTER_MODE_*: which faults of a range are wanted.
enum class register_mode : std::uint64_t {
  missing = uapi::mode::register_missing,              ///< the page isn't there
  write_protect = uapi::mode::register_write_protect,  ///< a write to a protected page
  minor = uapi::mode::register_minor,  ///< the page is in the page cache but not mapped here
  read_write_protect = uapi::mode::register_read_write_protect,  ///< any access, Linux 7.3
};

/// What UFFDIO_REGISTER says may be done to a range; bit N is the ioctl with number N.
enum class range_ioctl : std::uint64_t {
  unregister = 1ULL << uapi::number::unregister,                  ///< UFFDIO_UNREGISTER
  wake = 1ULL << uapi::number::wake,                              ///< UFFDIO_WAKE
  copy = 1ULL << uapi::number::copy,                              ///< UFFDIO_COPY
  zeropage = 1ULL << uapi::number::zeropage,                      ///< UFFDIO_ZEROPAGE
  move = 1ULL << uapi::number::move,                              ///< UFFDIO_MOVE
  write_protect = 1ULL << uapi::number::write_protect,            ///< UFFDIO_WRITEPROTECT
  continue_ = 1ULL << uapi::number::continue_,                    ///< UFFDIO_CONTINUE
  poison = 1ULL << uapi::number::poison,                          ///< UFFDIO_POISON
  read_write_protect = 1ULL << uapi::number::read_write_protect,  ///< UFFDIO_RWPROTECT, 7.3
};

/// How handle::copy() and handle::continue_() install pages.
enum class fill_mode : std::uint64_t {
  dont_wake = uapi::mode::copy_dont_wake,          ///< leave the waiting threads asleep
  write_protect = uapi::mode::copy_write_protect,  ///< write-protected from the start
};

/// How handle::move() moves pages.
enum class move_mode : std::uint64_t {
  dont_wake = uapi::mode::move_dont_wake,                    ///< leave the waiters asleep
  allow_source_holes = uapi::mode::move_allow_source_holes,  ///< a hole moves as a hole
};

/// Whether operations without other modes wake the threads that wait for the range.
enum class wake_mode : std::uint64_t {
  dont_wake = 1,  ///< leave the waiting threads asleep
};

/// UFFD_PAGEFAULT_FLAG_*: why a fault was raised. None of the last three: the page is missing.
enum class fault_flag : std::uint64_t {
  write = 1,               ///< it was a write
  write_protect = 2,       ///< to a write-protected page
  minor = 4,               ///< to a page that is in the page cache
  read_write_protect = 8,  ///< to a page protected from all access, Linux 7.3
};

namespace detail {
template <>
inline constexpr auto flag_names<feature> = std::to_array<flag_name<feature>>({
    {feature::pagefault_flag_wp, "pagefault_flag_wp"},
    {feature::event_fork, "event_fork"},
    {feature::event_remap, "event_remap"},
    {feature::event_remove, "event_remove"},
    {feature::missing_hugetlbfs, "missing_hugetlbfs"},
    {feature::missing_shmem, "missing_shmem"},
    {feature::event_unmap, "event_unmap"},
    {feature::sigbus, "sigbus"},
    {feature::thread_id, "thread_id"},
    {feature::minor_hugetlbfs, "minor_hugetlbfs"},
    {feature::minor_shmem, "minor_shmem"},
    {feature::exact_address, "exact_address"},
    {feature::wp_hugetlbfs_shmem, "wp_hugetlbfs_shmem"},
    {feature::wp_unpopulated, "wp_unpopulated"},
    {feature::poison, "poison"},
    {feature::wp_async, "wp_async"},
    {feature::move, "move"},
    {feature::rwp, "rwp"},
    {feature::rwp_async, "rwp_async"},
});
template <>
inline constexpr auto flag_names<register_mode> = std::to_array<flag_name<register_mode>>({
    {register_mode::missing, "missing"},
    {register_mode::write_protect, "write_protect"},
    {register_mode::minor, "minor"},
    {register_mode::read_write_protect, "read_write_protect"},
});
template <>
inline constexpr auto flag_names<range_ioctl> = std::to_array<flag_name<range_ioctl>>({
    {range_ioctl::unregister, "unregister"},
    {range_ioctl::wake, "wake"},
    {range_ioctl::copy, "copy"},
    {range_ioctl::zeropage, "zeropage"},
    {range_ioctl::move, "move"},
    {range_ioctl::write_protect, "write_protect"},
    {range_ioctl::continue_, "continue"},
    {range_ioctl::poison, "poison"},
    {range_ioctl::read_write_protect, "read_write_protect"},
});
template <>
inline constexpr auto flag_names<fill_mode> = std::to_array<flag_name<fill_mode>>({
    {fill_mode::dont_wake, "dont_wake"},
    {fill_mode::write_protect, "write_protect"},
});
template <>
inline constexpr auto flag_names<move_mode> = std::to_array<flag_name<move_mode>>({
    {move_mode::dont_wake, "dont_wake"},
    {move_mode::allow_source_holes, "allow_source_holes"},
});
template <>
inline constexpr auto flag_names<wake_mode> = std::to_array<flag_name<wake_mode>>({
    {wake_mode::dont_wake, "dont_wake"},
});
template <>
inline constexpr auto flag_names<fault_flag> = std::to_array<flag_name<fault_flag>>({
    {fault_flag::write, "write"},
    {fault_flag::write_protect, "write_protect"},
    {fault_flag::minor, "minor"},
    {fault_flag::read_write_protect, "read_write_protect"},
});

std::string hexadecimal(std::uint64_t number);
}  // namespace detail

/// The features whose events the kernel sends: what causes one sleeps until its message is read.
inline constexpr flags<feature> event_features =
    feature::event_fork | feature::event_remap | feature::event_remove | feature::event_unmap;

/// The set in words, `missing|write_protect|0x40`; unnamed bits as one number, the empty set as
/// `none`.
template <class E>
std::string to_string(flags<E> set) {
  std::string text;
  const auto append = [&](std::string_view word) {
    if (!text.empty()) text += '|';
    text += word;
  };
  for (const auto& known : detail::flag_names<E>) {
    if (!set.has(known.flag)) continue;
    append(known.name);
    set -= known.flag;
  }
  if (!set.empty()) append(detail::hexadecimal(set.bits()));
  return text.empty() ? "none" : text;
}

namespace detail {
inline std::string hexadecimal(std::uint64_t number) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  do {
    text.insert(text.begin(), digits[number & 0xF]);
    number >>= 4;
  } while (number != 0);
  return "0x" + text;
}
}  // namespace detail
}  // namespace uffd
