// SPDX-License-Identifier: MIT
// Skips a test, with the reason, where the kernel or the permissions lack what it needs.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <system_error>

#include "uffd/flags.hpp"
#include "uffd/mapping.hpp"
#include "uffd/support.hpp"

// UFFDPP_REQUIRE(test::kernel_has(feature::move));
#define UFFDPP_REQUIRE(need)                       \
  do {                                             \
    const std::string lacking = need;              \
    if (!lacking.empty()) GTEST_SKIP() << lacking; \
  } while (false)

namespace uffd::test {

// Each answers what is lacking; nothing if it is there.

inline const support& this_machine() {
  static const support found = support::query();
  return found;
}

inline std::string permitted() { return this_machine().permitted() ? "" : this_machine().advice(); }

// Skips all tests of a program that needs userfaultfd where it isn't permitted at all.
class needs_userfaultfd : public testing::Environment {
  void SetUp() override { UFFDPP_REQUIRE(permitted()); }
};
inline const auto* const environment = testing::AddGlobalTestEnvironment(new needs_userfaultfd);

inline std::string kernel_has(flags<feature> needed) {
  const auto lacking = needed - this_machine().features();
  return lacking.empty() ? "" : "this kernel lacks " + to_string(lacking);
}

inline std::string kernel_lacks(flags<feature> unwanted) {
  const auto found = unwanted & this_machine().features();
  return found.empty() ? "" : "this kernel has " + to_string(found);
}

inline std::string kernel_faults() {
  return this_machine().kernel_faults() ? "" : "faults from system calls are not permitted";
}

inline std::string user_mode_faults_only() {
  const int number = this_machine().user_mode_only_errno();
  return number == 0 ? "" : std::string("no user-mode faults alone: ") + std::strerror(number);
}

inline std::string fork_events() {
  return this_machine().fork_events() ? "" : "EVENT_FORK needs CAP_SYS_PTRACE";
}

// What a handler needs to serve children.
inline std::string followed_forks() {
  const auto lacking = fork_events();
  return lacking.empty() ? kernel_has(feature::poison) : lacking;
}

inline std::string pagemap_scan() {
  return this_machine().pagemap_scan() ? "" : "this kernel lacks PAGEMAP_SCAN";
}

inline std::string root() { return ::geteuid() == 0 ? "" : "needs root"; }

inline constexpr std::size_t huge_page_size = std::size_t{2} << 20;

inline std::string huge_pages(std::size_t count = 1) {
  try {
    static_cast<void>(mapping::huge(count * huge_page_size, huge_page_size));
    return "";
  } catch (const std::system_error& error) {
    return "needs " + std::to_string(count) +
           " huge pages of 2 MiB (vm.nr_hugepages): " + error.code().message();
  }
}

}  // namespace uffd::test
