// SPDX-License-Identifier: MIT
/// \file
/// What this kernel and this process may do, and what to change if they may not.
#pragma once

#include <fcntl.h>
#include <sys/utsname.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "uffd/detail/open.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/flags.hpp"
#include "uffd/open_options.hpp"
#include "uffd/page_range.hpp"
#include "uffd/unique_fd.hpp"

namespace uffd {

/// What was found out by trying, on descriptors thrown away at once. A value; query() may be called
/// from any thread.
class support {
 public:
  /// Tries every way to a userfaultfd and asks the kernel for its features. Throws only
  /// std::bad_alloc: what is not permitted is an answer, not an error.
  static support query();

  /// True if some way is open, perhaps for faults from user mode only.
  bool permitted() const noexcept {
    return device_ == 0 || system_call_ == 0 || user_mode_only_ == 0;
  }
  /// True if faults raised inside system calls can be served.
  bool kernel_faults() const noexcept { return device_ == 0 || system_call_ == 0; }
  /// True if forks can be followed (feature::event_fork, CAP_SYS_PTRACE).
  bool fork_events() const noexcept { return fork_events_ == 0; }
  /// True if PAGEMAP_SCAN can tell which pages are missing or were written (Linux 6.7).
  bool pagemap_scan() const noexcept { return pagemap_scan_; }
  /// What the kernel offers; empty if nothing is permitted.
  flags<feature> features() const noexcept { return features_; }

  /// 0, or the errno that /dev/userfaultfd answered.
  int device_errno() const noexcept { return device_; }
  /// 0, or the errno that userfaultfd(2) answered.
  int system_call_errno() const noexcept { return system_call_; }
  /// 0, or the errno that userfaultfd(2) with UFFD_USER_MODE_ONLY answered.
  int user_mode_only_errno() const noexcept { return user_mode_only_; }

  /// What to change so that more is permitted, in sentences; empty if nothing is lacking.
  std::string advice() const;
  /// All of it in lines of `name  value`, for a bug report.
  std::string table() const;

 private:
  int device_ = 0;
  int system_call_ = 0;
  int user_mode_only_ = 0;
  int fork_events_ = 0;
  bool pagemap_scan_ = false;
  flags<feature> features_;
};

namespace detail {

inline std::string first_word_of(const char* path) {
  std::string word;
  std::ifstream(path) >> word;
  return word.empty() ? "unknown" : word;
}

// 0 or the errno; the features offered on `found` and whether it may follow forks.
inline int inspect(opened found, flags<feature>& features, int& fork_events) noexcept {
  if (!found.descriptor) return found.number;
  flags<feature> offered;
  fork_events = -negotiate(found.descriptor.get(), feature::event_fork, offered);
  if (fork_events != 0) static_cast<void>(negotiate(found.descriptor.get(), {}, offered));
  features |= offered;
  return 0;
}

inline bool has_pagemap_scan() noexcept {
  const unique_fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  uapi::pagemap_scan scan{};
  scan.size = sizeof scan;
  return pagemap && call_ioctl(pagemap.get(), uapi::pagemap::scan, &scan) >= 0;
}

inline std::string yes_or(int number) { return number == 0 ? "yes" : "no: " + errno_text(number); }

}  // namespace detail

inline support support::query() {
  support result;
  int unused = 0;
  result.fork_events_ = EPERM;
  result.user_mode_only_ =
      detail::inspect(detail::open_system_call(uapi::user_mode_only), result.features_, unused);
  result.system_call_ =
      detail::inspect(detail::open_system_call(), result.features_, result.fork_events_);
  result.device_ = detail::inspect(detail::open_device(), result.features_, result.fork_events_);
  if (result.user_mode_only_ == 0) result.fork_events_ = unused;
  result.pagemap_scan_ = detail::has_pagemap_scan();
  return result;
}

inline std::string support::advice() const {
  std::string text;
  if (!permitted()) {
    text += "This process may not use userfaultfd at all";
    if (system_call_ == ENOSYS) {
      text += ": the kernel was built without it (CONFIG_USERFAULTFD), or a filter hides it. ";
    } else {
      text +=
          ". In a container, allow userfaultfd in its seccomp profile and pass "
          "/dev/userfaultfd in. ";
    }
  }
  if (!kernel_faults() && system_call_ != ENOSYS)
    text +=
        "Faults raised inside system calls can't be served: give this user access to "
        "/dev/userfaultfd (chmod or chown it), run with CAP_SYS_PTRACE, or set "
        "`sysctl vm.unprivileged_userfaultfd=1`. ";
  if (permitted() && !fork_events()) text += "Forks can't be followed: that needs CAP_SYS_PTRACE. ";
  if (permitted() && !features_.has(feature::poison))
    text +=
        "Pages can't be poisoned (Linux 6.6): a page that can't be served is protected instead. ";
  if (!text.empty()) text.pop_back();
  return text;
}

inline std::string support::table() const {
  utsname system{};
  ::uname(&system);
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += name;
    text.append(name.size() < 28 ? 28 - name.size() : 1, ' ');
    text += value + "\n";
  };
  line("kernel", std::string(system.release) + " " + system.machine);
  line("page size", std::to_string(page_size()) + " bytes");
  line("/dev/userfaultfd", detail::yes_or(device_));
  line("userfaultfd(2)", detail::yes_or(system_call_));
  line("  user-mode faults only", detail::yes_or(user_mode_only_));
  line("vm.unprivileged_userfaultfd",
       detail::first_word_of("/proc/sys/vm/unprivileged_userfaultfd"));
  line("faults from system calls", kernel_faults() ? "yes" : "no");
  line("follow forks", detail::yes_or(fork_events_));
  line("PAGEMAP_SCAN", pagemap_scan_ ? "yes" : "no");
  line("huge pages reserved", detail::first_word_of("/proc/sys/vm/nr_hugepages"));
  auto unnamed = features_;
  for (const auto& known : detail::flag_names<feature>) {
    line("  " + std::string(known.name), features_.has(known.flag) ? "yes" : "no");
    unnamed -= known.flag;
  }
  if (!unnamed.empty()) line("  unnamed features", detail::hexadecimal(unnamed.bits()));
  return text;
}

}  // namespace uffd
