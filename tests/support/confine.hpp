// SPDX-License-Identifier: MIT
// Takes rights away from a forked child: its user, userfaultfd(2), the device.
#pragma once

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "support/forked.hpp"
#include "uffd/detail/uapi.hpp"
#include "uffd/support.hpp"

namespace uffd::test {

// Each is for a forked child and answers true if it worked.

// Makes this process one without privileges.
inline bool become_nobody() {
  constexpr unsigned nobody = 65534;
  if (::geteuid() == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 ||
       ::setresuid(nobody, nobody, nobody) != 0))
    return false;
  // The kernel takes /proc/self away from those who change their user.
  return ::prctl(PR_SET_DUMPABLE, 1) == 0;
}

template <std::size_t count>
bool install_filter(std::array<sock_filter, count> program) {
  const sock_fprog filter{count, program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// Makes userfaultfd(2) answer `number`, as a container's seccomp profile does.
inline bool refuse_system_call(int number) {
  constexpr std::uint32_t nr = offsetof(seccomp_data, nr);
  const auto refuse = SECCOMP_RET_ERRNO | (static_cast<std::uint32_t>(number) & 0xFFFF);
  return install_filter(
      std::array{sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr),
                 sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
                 sock_filter BPF_STMT(BPF_RET | BPF_K, refuse),
                 sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)});
}

// The same, and for what the device is asked for: a filter sees no path, but the request. Whoever
// has all capabilities and may open every file is refused as well.
inline bool refuse_every_way(int number) {
  constexpr std::uint32_t nr = offsetof(seccomp_data, nr);
  constexpr std::uint32_t request =
      offsetof(seccomp_data, args[1]) + (std::endian::native == std::endian::big ? 4 : 0);
  const auto refuse = SECCOMP_RET_ERRNO | (static_cast<std::uint32_t>(number) & 0xFFFF);
  return install_filter(
      std::array{sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr),
                 sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
                 sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
                 sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, request),
                 sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, uapi::request::device_new, 0, 1),
                 sock_filter BPF_STMT(BPF_RET | BPF_K, refuse),
                 sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)});
}

// Takes /dev/userfaultfd away: an empty /dev, seen by this process alone.
inline bool hide_device() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", "/dev", "tmpfs", 0, nullptr) == 0;
}

// Why tests of a process without privileges say nothing here; nothing if they do. Works without
// root: then this process is such a one already.
inline std::string nobody_is_restricted() {
  static const ending end = in_child([] {
    if (!become_nobody()) return 2;
    const auto found = support::query();
    return found.device_errno() == EACCES && found.system_call_errno() == EPERM ? 0 : 1;
  });
  if (end == exits_with(0)) return "";
  if (end == exits_with(1))
    return "here everybody may serve faults from system calls, or nobody any";
  return "this process can't give up its privileges";
}

}  // namespace uffd::test
