// SPDX-License-Identifier: MIT
// Taking over a descriptor, and what is refused.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "support/descriptors.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

test::refusal refused(unique_fd descriptor, flags<feature> stated) {
  return test::refusal_of([&] { handle::adopt(std::move(descriptor), stated); });
}

unique_fd negotiated(flags<feature> features) {
  return handle::open({.required = features}).release();
}

TEST(handle_adopt, takes_over_what_was_released) {
  const auto features = flags(feature::thread_id);
  UFFDPP_REQUIRE(test::kernel_has(features));
  auto released = negotiated(features);
  const int number = released.get();
  const auto on = handle::adopt(std::move(released), features, memory_owner::this_process);
  EXPECT_EQ(on.fd(), number);
  EXPECT_EQ(on.features(), features);
  EXPECT_FALSE(on.foreign());
  const test::memory memory(test::memory_kind::anonymous, 1);
  on.register_range(memory.range(), register_mode::missing);
  ASSERT_TRUE(on.copy(memory.begin(), test::filled(memory.size(), 7)));
  EXPECT_EQ(test::look(memory.begin()), test::shows(7));
}

TEST(handle_adopt, is_of_another_process_unless_stated) {
  EXPECT_TRUE(handle::adopt(negotiated({}), {}).foreign());
}

TEST(handle_adopt, does_not_claim_that_kernel_faults_are_served) {
  EXPECT_FALSE(handle::adopt(negotiated({}), {}).serves_kernel_faults());
}

TEST(handle_adopt, sets_close_on_exec_and_nonblocking) {
  auto descriptor = negotiated({});
  ASSERT_EQ(::fcntl(descriptor.get(), F_SETFL, 0), 0);
  ASSERT_EQ(::fcntl(descriptor.get(), F_SETFD, 0), 0);
  const auto on = handle::adopt(std::move(descriptor), {});
  EXPECT_NE(::fcntl(on.fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(on.fd(), F_GETFD), FD_CLOEXEC);
}

TEST(handle_adopt, refuses_a_pipe_with_EINVAL_by_name) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const unique_fd write_end(ends[1]);
  const auto error = refused(unique_fd(ends[0]), {});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("not a userfaultfd but 'pipe:")) << error.words;
  EXPECT_EQ(::fcntl(write_end.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(handle_adopt, refuses_a_device_with_EINVAL_by_name) {
  const auto error = refused(unique_fd(::open("/dev/null", O_RDWR | O_CLOEXEC)), {});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("'/dev/null'")) << error.words;
}

TEST(handle_adopt, refuses_a_closed_descriptor_with_EBADF) {
  EXPECT_EQ(test::thrown([] { handle::adopt(unique_fd(), {}); }), EBADF);
  EXPECT_EQ(test::thrown([] { handle::adopt(unique_fd(1'000'000), {}); }), EBADF);
}

TEST(handle_adopt, refuses_a_descriptor_that_was_not_negotiated_with_EINVAL) {
  auto opened = detail::open_descriptor(kernel_fault_policy::if_permitted,
                                        open_path::device_then_system_call);
  const auto error = refused(std::move(opened.descriptor), {});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("not negotiated")) << error.words;
}

TEST(handle_adopt, refuses_features_that_it_lacks_with_EINVAL_naming_both) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_unmap));
  const auto error = refused(negotiated(feature::event_unmap), feature::event_remap);
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("stated features event_remap")) << error.words;
  EXPECT_TRUE(error.names("has event_unmap")) << error.words;
}

TEST(handle_adopt, refuses_to_conceal_features_that_it_has_with_EINVAL) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_unmap));
  const auto error = refused(negotiated(feature::event_unmap), {});
  EXPECT_EQ(error.number, EINVAL);
  EXPECT_TRUE(error.names("stated features none")) << error.words;
}

TEST(handle_adopt, accepts_what_WP_ASYNC_switches_on_by_itself) {
  UFFDPP_REQUIRE(test::kernel_has(feature::wp_async));
  EXPECT_EQ(handle::adopt(negotiated(feature::wp_async), feature::wp_async).features(),
            feature::wp_async);
}

TEST(handle_adopt, refusal_closes_what_it_was_given) {
  static_cast<void>(handle::open());
  const auto before = test::open_descriptors();
  EXPECT_EQ(refused(negotiated({}), feature::sigbus).number, EINVAL);
  EXPECT_EQ(test::open_descriptors(), before);
}

}  // namespace
}  // namespace uffd
