// SPDX-License-Identifier: MIT
#include "uffd/support.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "support/confine.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(support, agrees_with_what_opening_does) {
  const auto found = support::query();
  ASSERT_TRUE(found.permitted());
  const auto on = handle::open();
  EXPECT_EQ(found.kernel_faults(), on.serves_kernel_faults());
  const auto all = handle::open({.optional = found.features()});
  EXPECT_EQ(all.features(),
            found.fork_events() ? found.features() : found.features() - feature::event_fork);
}

TEST(support, tells_the_errno_of_each_way) {
  const auto found = support::query();
  const auto tried = [](kernel_fault_policy policy, open_path via) {
    return test::thrown([&] { detail::open_descriptor(policy, via); });
  };
  using policy = kernel_fault_policy;
  EXPECT_EQ(found.device_errno(), tried(policy::required, open_path::device));
  EXPECT_EQ(found.system_call_errno(), tried(policy::required, open_path::system_call));
  EXPECT_EQ(found.user_mode_only_errno(), tried(policy::never, open_path::system_call));
}

TEST(support, query_leaves_no_descriptor_open) {
  static_cast<void>(support::query());
  const auto before = test::open_descriptors();
  static_cast<void>(support::query());
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST(support, table_has_a_line_for_every_feature) {
  const auto found = support::query();
  const auto table = found.table();
  for (const auto& known : detail::flag_names<feature>) {
    const std::string line = "\n  " + std::string(known.name) + " ";
    ASSERT_TRUE(contains(table, line)) << known.name;
    const auto start = table.find(line) + 1;
    const auto answer = table.substr(start, table.find('\n', start) - start);
    EXPECT_TRUE(answer.ends_with(found.features().has(known.flag) ? " yes" : " no")) << answer;
  }
}

TEST(support, table_is_lines_of_a_name_and_a_value) {
  const auto table = support::query().table();
  ASSERT_FALSE(table.empty());
  EXPECT_EQ(table.back(), '\n');
  for (std::size_t start = 0; start < table.size();) {
    const auto end = table.find('\n', start);
    const auto line = table.substr(start, end - start);
    EXPECT_GT(line.size(), 28u) << line;
    EXPECT_NE(line[28], ' ') << line;
    start = end + 1;
  }
}

TEST(support, has_no_advice_where_nothing_is_lacking) {
  const auto found = support::query();
  if (!found.kernel_faults() || !found.fork_events() || !found.features().has(feature::poison))
    GTEST_SKIP() << "something is lacking: " << found.advice();
  EXPECT_EQ(found.advice(), "");
}

// The following run in a child that gave its rights away.

constexpr int confinement_failed = 100;

TEST(support, of_nobody_permits_user_mode_faults_and_advises_what_permits_more) {
  UFFDPP_REQUIRE(test::nobody_is_restricted());
  const auto end = test::in_child([] {
    if (!test::become_nobody()) return confinement_failed;
    const auto found = support::query();
    if (!found.permitted() || found.kernel_faults() || found.fork_events()) return 1;
    if (found.device_errno() != EACCES || found.system_call_errno() != EPERM) return 2;
    if (found.features() != test::this_machine().features()) return 3;
    if (!contains(found.advice(), "/dev/userfaultfd")) return 4;
    if (!contains(found.advice(), "vm.unprivileged_userfaultfd=1")) return 5;
    if (!contains(found.advice(), "CAP_SYS_PTRACE")) return 6;
    return contains(found.table(), "no: Permission denied") ? 0 : 7;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(support, in_a_container_that_filters_the_call_permits_nothing_and_names_seccomp) {
  UFFDPP_REQUIRE(test::nobody_is_restricted());
  const auto end = test::in_child([] {
    if (!test::refuse_system_call(EPERM) || !test::become_nobody()) return confinement_failed;
    const auto found = support::query();
    if (found.permitted() || found.kernel_faults() || found.fork_events()) return 1;
    if (!found.features().empty()) return 2;
    return contains(found.advice(), "seccomp") ? 0 : 3;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(support, of_a_kernel_without_userfaultfd_says_so) {
  UFFDPP_REQUIRE(test::nobody_is_restricted());
  const auto end = test::in_child([] {
    if (!test::refuse_system_call(ENOSYS) || !test::become_nobody()) return confinement_failed;
    const auto found = support::query();
    if (found.permitted() || found.system_call_errno() != ENOSYS) return 1;
    return contains(found.advice(), "CONFIG_USERFAULTFD") ? 0 : 2;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(support, with_the_device_alone_serves_kernel_faults) {
  if (test::this_machine().device_errno() != 0) GTEST_SKIP() << "needs /dev/userfaultfd";
  const auto end = test::in_child([] {
    if (!test::refuse_system_call(EPERM)) return confinement_failed;
    const auto found = support::query();
    if (!found.permitted() || !found.kernel_faults()) return 1;
    if (found.user_mode_only_errno() != EPERM) return 2;
    return found.fork_events() == test::this_machine().fork_events() ? 0 : 3;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

}  // namespace
}  // namespace uffd
