// SPDX-License-Identifier: MIT
// Whether a forked child can write to private huge pages that are protected here. Some kernels keep
// the mark in the child, where nobody takes it away, and it faults for ever (Linux 6.1).
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"
#include "uffd/open_options.hpp"

namespace uffd::test {

// UFFDPP_REQUIRE(test::forked_huge_pages());
inline std::string forked_huge_pages() {
  static const bool are_writable = [] {
    const auto needed = features_of(memory_kind::huge, register_mode::write_protect);
    const auto on = handle::open({.required = needed});
    const memory one(memory_kind::huge, 1);
    write_byte(one.begin(), 7);
    on.register_range(one.range(), register_mode::write_protect);
    if (!on.write_protect(one.range())) return false;
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(5);
      write_byte(one.begin(), 8);
      ::_exit(0);
    }
    int status = 0;
    return child > 0 && ::waitpid(child, &status, 0) == child && status == 0;
  }();
  return are_writable ? "" : "children of this kernel hang at huge pages that are protected";
}

}  // namespace uffd::test
