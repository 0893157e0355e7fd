// SPDX-License-Identifier: MIT
// What a peer may send that is no hand-off: refused, and no descriptor of it stays open.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <vector>

#include "detail/handoff_message.hpp"
#include "support/descriptors.hpp"
#include "support/few_descriptors.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/sockets.hpp"
#include "uffd/handoff.hpp"
#include "uffd/region.hpp"

namespace uffd {
namespace {

using namespace std::chrono_literals;

using bytes = std::vector<std::byte>;

class handoff_refuses : public testing::TestWithParam<int> {
 protected:
  const test::memory memory_{test::memory_kind::anonymous, 2};
  const handle on_ = handle::open();
  const region region_{on_, memory_.range()};
  test::socket_pair sockets_{GetParam()};

  bytes message(detail::handoff_header header = {}) const {
    header.features = on_.features();
    return detail::encode_handoff(header, {&region_.info(), 1});
  }
  template <class Number>
  bytes message_with(std::size_t offset, Number number) const {
    bytes changed = message();
    for (std::size_t i = 0; i < sizeof number; ++i)
      changed[offset + i] = static_cast<std::byte>(number >> (8 * i));
    return changed;
  }
  // The errno with which it is refused, if it is sent whole, and the connection closed.
  int refusal(const bytes& sent, const std::vector<int>& descriptors) {
    EXPECT_TRUE(test::send_bytes(sockets_.one(), sent, descriptors));
    sockets_.close_one();
    return received();
  }
  int refusal(const bytes& sent) { return refusal(sent, {on_.fd()}); }
  int received() {
    const auto before = test::open_descriptors();
    const int number = test::thrown([&] { static_cast<void>(handoff::receive(sockets_.other())); });
    EXPECT_EQ(test::open_descriptors(), before) << "a descriptor leaked";
    return number;
  }
  bool is_stream() const { return GetParam() == SOCK_STREAM; }
};
INSTANTIATE_TEST_SUITE_P(sockets, handoff_refuses, test::both_sockets, test::socket_name);

TEST_P(handoff_refuses, nothing_that_is_right) { EXPECT_EQ(refusal(message()), 0); }

TEST_P(handoff_refuses, a_message_without_descriptor) {
  EXPECT_EQ(refusal(message(), {}), EBADMSG);
}

TEST_P(handoff_refuses, two_descriptors) {
  EXPECT_EQ(refusal(message(), {on_.fd(), on_.fd()}), EBADMSG);
}

TEST_P(handoff_refuses, more_descriptors_than_it_has_room_for) {
  EXPECT_EQ(refusal(message(), std::vector<int>(250, on_.fd())), EBADMSG);
}

TEST_P(handoff_refuses, a_second_descriptor_later_in_the_message) {
  if (!is_stream()) GTEST_SKIP() << "a packet has one set of descriptors";
  const bytes all = message();
  const auto half = std::span(all).first(50);
  ASSERT_TRUE(test::send_bytes(sockets_.one(), half, {on_.fd()}));
  ASSERT_TRUE(test::send_bytes(sockets_.one(), std::span(all).subspan(50), {on_.fd()}));
  EXPECT_EQ(received(), EBADMSG);
}

TEST_P(handoff_refuses, another_kind_of_descriptor) {
  const unique_fd event(::eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(refusal(message(), {event.get()}), EINVAL);
  EXPECT_EQ(::fcntl(event.get(), F_GETFL) & O_NONBLOCK, 0) << "it was changed";
}

TEST_P(handoff_refuses, a_userfaultfd_with_other_features) {
  const auto other = flags<feature>::from_bits(on_.features().bits() ^ 0x100);
  EXPECT_EQ(refusal(message_with(32, other.bits())), EINVAL);
}

TEST_P(handoff_refuses, a_descriptor_for_which_there_is_no_room) {
  ASSERT_TRUE(test::send_bytes(sockets_.one(), message(), {on_.fd()}));
  int number = 0;
  {
    const test::no_more_descriptors full;
    number = test::thrown([&] { static_cast<void>(handoff::receive(sockets_.other())); });
  }
  EXPECT_EQ(number, EMFILE);
}

TEST_P(handoff_refuses, a_message_that_is_cut_off) {
  for (const std::size_t size : {1U, 39U, 40U, 41U, 95U}) {
    sockets_ = test::socket_pair(GetParam());
    bytes part = message();
    part.resize(size);
    EXPECT_EQ(refusal(part), is_stream() ? ECONNRESET : EBADMSG) << size;
  }
}

TEST_P(handoff_refuses, to_wait_for_the_rest_of_a_message_for_ever) {
  if (!is_stream()) GTEST_SKIP() << "a packet comes as a whole";
  bytes part = message();
  part.resize(60);
  ASSERT_TRUE(test::send_bytes(sockets_.one(), part, {on_.fd()}));
  const auto before = test::open_descriptors();
  EXPECT_EQ(test::thrown([&] {
              static_cast<void>(handoff::receive(sockets_.other(), {.time_limit = 20ms}));
            }),
            ETIMEDOUT);
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST_P(handoff_refuses, a_packet_that_is_too_long) {
  if (is_stream()) GTEST_SKIP() << "in a stream it is the next message";
  bytes longer = message();
  longer.resize(longer.size() + 1);
  EXPECT_EQ(refusal(longer), EBADMSG);
  sockets_ = test::socket_pair(GetParam());
  longer.resize(detail::handoff_size(handoff::options().most_regions) + 1);
  EXPECT_EQ(refusal(longer), EBADMSG);
}

TEST_P(handoff_refuses, an_empty_packet) {
  if (is_stream()) GTEST_SKIP() << "a stream has none";
  ASSERT_TRUE(test::send_bytes(sockets_.one(), {}, {}));
  EXPECT_EQ(received(), ECONNRESET);
  ASSERT_TRUE(test::send_bytes(sockets_.one(), {}, {on_.fd()}));
  EXPECT_EQ(received(), EBADMSG);
}

TEST_P(handoff_refuses, another_magic) {
  EXPECT_EQ(refusal(message_with(0, std::uint8_t{'U'})), EBADMSG);
}

TEST_P(handoff_refuses, another_version) {
  EXPECT_EQ(refusal(message_with(8, std::uint32_t{2})), EPROTONOSUPPORT);
}

TEST_P(handoff_refuses, sizes_that_do_not_agree) {
  EXPECT_EQ(refusal(message_with(12, std::uint32_t{103})), EBADMSG);
  sockets_ = test::socket_pair(GetParam());
  EXPECT_EQ(refusal(message_with(16, std::uint32_t{65})), EBADMSG);
  sockets_ = test::socket_pair(GetParam());
  EXPECT_EQ(refusal(message_with(20, std::uint32_t{2})), EBADMSG);
}

// 40 + 64 * 2^29 has no other low 32 bits than the header alone.
TEST_P(handoff_refuses, a_size_that_wraps) {
  bytes wrapping = message_with(20, std::uint32_t{1} << 29);
  wrapping[12] = std::byte{40};
  EXPECT_EQ(refusal(wrapping), EBADMSG);
}

// Before it takes memory for them.
TEST_P(handoff_refuses, more_regions_than_allowed) {
  constexpr std::uint32_t many = 60'000'000;
  bytes huge = message_with(20, many);
  const auto size = static_cast<std::uint32_t>(detail::handoff_size(many));
  for (std::size_t i = 0; i < 4; ++i) huge[12 + i] = static_cast<std::byte>(size >> (8 * i));
  EXPECT_EQ(refusal(huge), EMSGSIZE);
}

TEST_P(handoff_refuses, unknown_flags) {
  EXPECT_EQ(refusal(message_with(28, std::uint32_t{2})), EBADMSG);
}

TEST_P(handoff_refuses, regions_that_no_kernel_has) {
  EXPECT_EQ(refusal(message_with(40, memory_.begin() + 1)), EBADMSG);
  sockets_ = test::socket_pair(GetParam());
  EXPECT_EQ(refusal(message_with(48, std::uint64_t{0})), EBADMSG);
  sockets_ = test::socket_pair(GetParam());
  EXPECT_EQ(refusal(message_with(56, std::uint64_t{1})), EBADMSG);
  sockets_ = test::socket_pair(GetParam());
  EXPECT_EQ(refusal(message_with(96, std::uint64_t{2})), EBADMSG) << "unknown flags";
}

TEST_P(handoff_refuses, grandchildren) {
  detail::handoff_header header;
  header.children = 1;
  ASSERT_TRUE(test::send_bytes(sockets_.one(), message(header), {on_.fd()}));
  EXPECT_EQ(refusal(message(header)), EBADMSG);
}

TEST_P(handoff_refuses, a_child_that_is_no_message) {
  detail::handoff_header header;
  header.children = 1;
  ASSERT_TRUE(test::send_bytes(sockets_.one(), message(header), {on_.fd()}));
  EXPECT_EQ(refusal(message_with(0, std::uint8_t{'U'})), EBADMSG);
}

TEST_P(handoff_refuses, more_children_than_allowed) {
  detail::handoff_header header;
  header.children = 1'000'000;
  EXPECT_EQ(refusal(message(header)), EMSGSIZE);
}

// Such a socket has credentials, and on newer kernels a pidfd, beside the descriptor.
TEST_P(handoff_refuses, nothing_that_comes_with_credentials) {
  const int on = 1;
  ASSERT_EQ(::setsockopt(sockets_.other(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on), 0);
  constexpr int pass_pidfd = 76;  // SO_PASSPIDFD, Linux 6.5
  static_cast<void>(::setsockopt(sockets_.other(), SOL_SOCKET, pass_pidfd, &on, sizeof on));
  EXPECT_EQ(refusal(message()), 0);
}

}  // namespace
}  // namespace uffd
