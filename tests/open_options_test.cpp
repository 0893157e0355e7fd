// SPDX-License-Identifier: MIT
// Every way to a userfaultfd, and every way in which it can be refused.
#include "uffd/open_options.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "support/background.hpp"
#include "support/confine.hpp"
#include "support/descriptors.hpp"
#include "support/events.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

test::refusal refused(const open_options& options) {
  return test::refusal_of([&] { handle::open(options); });
}

const auto everything = flags<feature>::from_bits(~0ULL);

flags<feature> negotiated(const handle& on) {
  return flags<feature>::from_bits(detail::fdinfo_features(on.fd()).value() & 0x7FFFFFFF);
}

TEST(open_options, ask_for_nothing_by_default) {
  const auto on = handle::open();
  EXPECT_TRUE(on.features().empty());
  EXPECT_TRUE(negotiated(on).empty());
  EXPECT_EQ(on.serves_kernel_faults(), test::this_machine().kernel_faults());
  EXPECT_FALSE(on.foreign());
}

TEST(open_options, required_features_are_negotiated) {
  const auto wanted = feature::event_remove | feature::event_unmap;
  UFFDPP_REQUIRE(test::kernel_has(wanted));
  const auto on = handle::open({.required = wanted});
  EXPECT_EQ(on.features(), wanted);
  EXPECT_EQ(negotiated(on), wanted);
}

TEST(open_options, optional_features_are_negotiated_as_far_as_the_kernel_has_them) {
  auto expected = test::this_machine().features();
  if (!test::this_machine().fork_events()) expected -= feature::event_fork;
  const auto on = handle::open({.optional = everything});
  EXPECT_EQ(on.features(), expected);
  EXPECT_EQ(negotiated(on), expected);
}

TEST(open_options, a_feature_may_be_both_required_and_optional) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_unmap));
  const auto on = handle::open(
      {.required = feature::event_unmap, .optional = feature::event_unmap | feature::thread_id});
  EXPECT_TRUE(on.features().has(feature::event_unmap));
}

TEST(open_options, required_feature_without_a_name_is_refused_by_number) {
  const auto error = refused({.required = flags<feature>::from_bits(1ULL << 63)});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("0x8000000000000000")) << error.words;
}

TEST(open_options, every_required_feature_that_the_kernel_lacks_is_named) {
  UFFDPP_REQUIRE(test::kernel_lacks(feature::rwp | feature::rwp_async));
  const auto error =
      refused({.required = feature::rwp | feature::rwp_async | feature::event_unmap});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("rwp|rwp_async")) << error.words;
  EXPECT_FALSE(error.names("event_unmap")) << error.words;
}

TEST(open_options, refusal_leaves_no_descriptor_open) {
  static_cast<void>(handle::open());
  const auto before = test::open_descriptors();
  for (int i = 0; i < 100; ++i) refused({.required = everything});
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST(open_options, device_serves_kernel_faults_unless_never) {
  if (test::this_machine().device_errno() != 0) GTEST_SKIP() << "needs /dev/userfaultfd";
  using policy = kernel_fault_policy;
  for (const auto faults : {policy::if_permitted, policy::required, policy::never}) {
    const auto on = handle::open({.kernel_faults = faults, .via = open_path::device});
    EXPECT_EQ(on.serves_kernel_faults(), faults != policy::never);
  }
}

TEST(open_options, system_call_serves_kernel_faults_unless_never) {
  if (test::this_machine().system_call_errno() != 0)
    GTEST_SKIP() << "needs userfaultfd(2) for all faults";
  using policy = kernel_fault_policy;
  for (const auto faults : {policy::if_permitted, policy::required, policy::never}) {
    if (faults == policy::never) UFFDPP_REQUIRE(test::user_mode_faults_only());
    const auto on = handle::open({.kernel_faults = faults, .via = open_path::system_call});
    EXPECT_EQ(on.serves_kernel_faults(), faults != policy::never);
  }
}

// Reads from /dev/zero into missing memory: the kernel itself faults.
TEST(open_options, without_kernel_faults_a_read_into_missing_memory_fails_with_EFAULT) {
  UFFDPP_REQUIRE(test::user_mode_faults_only());
  const auto on = handle::open({.kernel_faults = kernel_fault_policy::never});
  const test::memory memory(test::memory_kind::anonymous, 1);
  on.register_range(memory.range(), register_mode::missing);
  const unique_fd zeroes(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::read(zeroes.get(), memory.bytes().data(), 1), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST(open_options, with_kernel_faults_a_read_into_missing_memory_waits_and_is_served) {
  UFFDPP_REQUIRE(test::kernel_faults());
  const auto on = handle::open({.kernel_faults = kernel_fault_policy::required});
  const test::memory memory(test::memory_kind::anonymous, 1);
  on.register_range(memory.range(), register_mode::missing);
  const unique_fd zeroes(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  ssize_t count = 0;
  test::background reading([&] { count = ::read(zeroes.get(), memory.bytes().data(), 1); });
  ASSERT_TRUE(test::next_fault(on));
  ASSERT_TRUE(on.copy(memory.begin(), test::filled(memory.size(), 7)));
  ASSERT_TRUE(reading.finishes());
  EXPECT_EQ(count, 1);
  EXPECT_EQ(test::look(memory.begin()), test::shows(0));
  EXPECT_EQ(test::look(memory.begin() + 1), test::shows(7));
}

// Each of the following runs in a child that gave its rights away, and answers with the number of
// the first expectation that isn't met.

constexpr int confinement_failed = 100;

class open_options_of_nobody : public testing::Test {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(test::nobody_is_restricted()); }
};

TEST_F(open_options_of_nobody, opens_for_user_mode_faults_alone) {
  const auto end = test::in_child([] {
    if (!test::become_nobody()) return confinement_failed;
    const auto on = handle::open();
    if (on.serves_kernel_faults()) return 1;
    const test::memory memory(test::memory_kind::anonymous, 1);
    on.register_range(memory.range(), register_mode::missing);
    if (!on.copy(memory.begin(), test::filled(memory.size(), 7))) return 2;
    return test::look(memory.begin()) == test::shows(7) ? 0 : 3;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST_F(open_options_of_nobody, required_kernel_faults_are_refused_naming_both_ways_and_the_remedy) {
  const auto end = test::in_child([] {
    if (!test::become_nobody()) return confinement_failed;
    const auto error = refused({.kernel_faults = kernel_fault_policy::required});
    if (error.number != EPERM) return 1;
    if (!error.names("/dev/userfaultfd: Permission denied")) return 2;
    if (!error.names("userfaultfd(2): Operation not permitted")) return 3;
    if (!error.names("CAP_SYS_PTRACE") || !error.names("vm.unprivileged_userfaultfd")) return 4;
    return error.names("seccomp") ? 0 : 5;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST_F(open_options_of_nobody, device_alone_is_refused_with_EACCES) {
  const auto end = test::in_child([] {
    if (!test::become_nobody()) return confinement_failed;
    const auto error = refused({.via = open_path::device});
    if (error.number != EACCES) return 1;
    return error.names("/dev/userfaultfd: Permission denied") ? 0 : 2;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST_F(open_options_of_nobody, optional_fork_event_is_dropped) {
  const auto end = test::in_child([] {
    if (!test::become_nobody()) return confinement_failed;
    const auto on = handle::open({.optional = feature::event_fork | feature::event_unmap});
    return on.features() == feature::event_unmap ? 0 : 1;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST_F(open_options_of_nobody, required_fork_event_is_refused_with_EPERM_by_name) {
  const auto end = test::in_child([] {
    if (!test::become_nobody()) return confinement_failed;
    const auto error = refused({.required = feature::event_fork});
    if (error.number != EPERM) return 1;
    return error.names("event_fork") && error.names("CAP_SYS_PTRACE") ? 0 : 2;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST_F(open_options_of_nobody, system_call_that_is_filtered_is_refused_naming_every_attempt) {
  const auto end = test::in_child([] {
    if (!test::refuse_system_call(EPERM) || !test::become_nobody()) return confinement_failed;
    const auto error = refused({});
    if (error.number != EPERM) return 1;
    if (!error.names("/dev/userfaultfd: Permission denied; userfaultfd(2): ")) return 2;
    return error.names("userfaultfd(2) for user-mode faults: Operation not permitted") ? 0 : 3;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(open_options, kernel_without_the_system_call_is_refused_with_ENOSYS) {
  const auto end = test::in_child([] {
    if (!test::refuse_system_call(ENOSYS)) return confinement_failed;
    const auto error = refused({.via = open_path::system_call});
    if (error.number != ENOSYS) return 1;
    return error.names("userfaultfd(2): Function not implemented") ? 0 : 2;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(open_options, device_is_tried_first) {
  if (test::this_machine().device_errno() != 0) GTEST_SKIP() << "needs /dev/userfaultfd";
  const auto end = test::in_child([] {
    if (!test::refuse_system_call(EPERM)) return confinement_failed;
    return refused({.kernel_faults = kernel_fault_policy::required}).number;
  });
  EXPECT_EQ(end, test::exits_with(0));
}

TEST(open_options, without_the_device_the_system_call_is_tried) {
  UFFDPP_REQUIRE(test::root());
  const auto end = test::in_child([] {
    if (!test::hide_device()) return confinement_failed;
    const auto error = refused({.via = open_path::device});
    if (error.number != ENOENT) return 1;
    return refused({}).number == test::this_machine().system_call_errno() ? 0 : 2;
  });
  if (end == test::exits_with(confinement_failed)) GTEST_SKIP() << "no mount namespace to be had";
  EXPECT_EQ(end, test::exits_with(0));
}

}  // namespace
}  // namespace uffd
