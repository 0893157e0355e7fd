// SPDX-License-Identifier: MIT
// The ways to a userfaultfd descriptor and the negotiation of its features; handle::open() and
// support::query() share them.
#pragma once

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "uffd/detail/syscall.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/error.hpp"
#include "uffd/flags.hpp"
#include "uffd/open_options.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd::detail {

inline constexpr int descriptor_flags = O_CLOEXEC | O_NONBLOCK;
inline constexpr const char* device_path = "/dev/userfaultfd";

// A descriptor, or the errno that refused it.
struct opened {
  unique_fd descriptor;
  int number = 0;
  bool kernel_faults = false;
};

inline opened opened_from(long result, bool kernel_faults) noexcept {
  if (result < 0) return {unique_fd(), errno, false};
  return {unique_fd(static_cast<int>(result)), 0, kernel_faults};
}

// File permissions alone decide here, no capability and no sysctl.
inline opened open_device(int mode = 0) noexcept {
  opened device = opened_from(::open(device_path, O_RDWR | O_CLOEXEC), false);
  if (!device.descriptor) return device;
  return opened_from(
      ::ioctl(device.descriptor.get(), uapi::request::device_new, descriptor_flags | mode),
      mode == 0);
}

inline opened open_system_call(int mode = 0) noexcept {
  return opened_from(::syscall(SYS_userfaultfd, descriptor_flags | mode), mode == 0);
}

inline std::string errno_text(int number) { return std::system_category().message(number); }

// Tries the permitted ways in turn and throws one error that names each attempt and its errno.
inline opened open_descriptor(kernel_fault_policy policy, open_path via) {
  std::string attempts;
  int last = 0;
  const auto attempt = [&](const char* name, opened result) {
    if (!result.descriptor) {
      attempts += (attempts.empty() ? "" : "; ") + std::string(name) + ": ";
      attempts += errno_text(last = result.number);
    }
    return result;
  };
  const int mode = policy == kernel_fault_policy::never ? uapi::user_mode_only : 0;
  if (via != open_path::system_call) {
    opened result = attempt(device_path, open_device(mode));
    const bool next = last == ENOENT || last == EACCES || last == EPERM;
    if (result.descriptor) return result;
    if (via == open_path::device || !next) throw_errno(last, "userfaultfd: " + attempts);
  }
  opened result = attempt("userfaultfd(2)", open_system_call(mode));
  if (result.descriptor) return result;
  if (last == EPERM && policy == kernel_fault_policy::if_permitted) {
    result = attempt("userfaultfd(2) for user-mode faults", open_system_call(uapi::user_mode_only));
    if (result.descriptor) return result;
  }
  throw_errno(last, "userfaultfd: " + attempts +
                        " (what permits it: access to /dev/userfaultfd, CAP_SYS_PTRACE, or sysctl "
                        "vm.unprivileged_userfaultfd=1; in a container also its seccomp profile)");
}

// UFFDIO_API, once per descriptor. Answers 0 or a negative errno; `available` becomes what the
// kernel offers. A refusal leaves the descriptor usable for another attempt.
inline int negotiate(int descriptor, flags<feature> wanted, flags<feature>& available) noexcept {
  uapi::api api{uapi::api_version, wanted.bits(), 0};
  const int result = call_ioctl(descriptor, uapi::request::api, &api);
  if (result == 0) available = flags<feature>::from_bits(api.features);
  return result;
}

// What the kernel offers, asked on a throw-away descriptor of the same kind: UFFDIO_API is
// one-shot.
inline flags<feature> available_features(kernel_fault_policy policy, open_path via) {
  const opened probe = open_descriptor(policy, via);
  flags<feature> available;
  const int result = negotiate(probe.descriptor.get(), {}, available);
  if (result < 0) throw_errno(-result, "UFFDIO_API");
  return available;
}

// Negotiates what is required and, of what is optional, all that can be had; answers that set.
inline flags<feature> negotiate(int descriptor, const open_options& options) {
  const auto offered = available_features(options.kernel_faults, options.via);
  if (const auto lacking = options.required - offered; !lacking.empty())
    throw_errno(EINVAL, "UFFDIO_API: this kernel lacks the required " + to_string(lacking));
  auto wanted = options.required | (options.optional & offered);
  // The kernel refuses the second without the first.
  if (!wanted.has(feature::rwp) && !options.required.has(feature::rwp_async))
    wanted -= feature::rwp_async;
  flags<feature> ignored;
  int result = negotiate(descriptor, wanted, ignored);
  if (result == -EPERM && wanted.has(feature::event_fork)) {
    if (options.required.has(feature::event_fork))
      throw_errno(EPERM, "UFFDIO_API: event_fork is required and needs CAP_SYS_PTRACE");
    wanted -= feature::event_fork;
    result = negotiate(descriptor, wanted, ignored);
  }
  if (result < 0) throw_errno(-result, "UFFDIO_API with " + to_string(wanted));
  return wanted;
}

}  // namespace uffd::detail
