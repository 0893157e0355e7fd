// SPDX-License-Identifier: MIT
/// \file
/// How a handle is opened, and what is negotiated on it.
#pragma once

#include "uffd/flags.hpp"

namespace uffd {

/// Whether faults that the kernel raises while it runs a system call on registered memory (read(2)
/// into it, say) must be served. If they aren't, such a system call fails with EFAULT.
enum class kernel_fault_policy {
  if_permitted,  ///< where this process may; handle::serves_kernel_faults() tells
  required,      ///< opening fails where this process may not
  never,         ///< ask for UFFD_USER_MODE_ONLY (Linux 5.11), which everybody may
};

/// The ways to a userfaultfd: man 2 userfaultfd.
enum class open_path {
  device_then_system_call,  ///< the device first; on ENOENT, EACCES or EPERM the system call
  device,                   ///< /dev/userfaultfd alone (Linux 6.1): its file permissions decide
  system_call,              ///< userfaultfd(2) alone: CAP_SYS_PTRACE or a sysctl decides
};

/// What handle::open() is asked for.
struct open_options {
  /// Opening fails, naming them, if one of these can't be had.
  flags<feature> required = {};
  /// Negotiated where the kernel has them and this process may; handle::features() tells.
  flags<feature> optional = {};
  /// Faults raised inside system calls.
  kernel_fault_policy kernel_faults = kernel_fault_policy::if_permitted;
  /// Which ways to try.
  open_path via = open_path::device_then_system_call;
};

}  // namespace uffd
