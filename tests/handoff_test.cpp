// SPDX-License-Identifier: MIT
// What one process sends and another receives.
#include "uffd/handoff.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fcntl.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "support/background.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/handing_over.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"

namespace uffd {
namespace {

using handoff_over = test::handing_over;
INSTANTIATE_TEST_SUITE_P(sockets, handoff_over, test::both_sockets, test::socket_name);

TEST_P(handoff_over, gives_handle_features_and_regions) {
  send();
  const auto received = receive();
  EXPECT_NE(received.on.fd(), on_.fd());
  EXPECT_EQ(received.on.features(), on_.features());
  EXPECT_EQ(received.on.serves_kernel_faults(), on_.serves_kernel_faults());
  EXPECT_TRUE(received.on.foreign());
  EXPECT_TRUE(received.lent);
  EXPECT_TRUE(received.children.empty());
  ASSERT_EQ(received.regions.size(), 1U);
  EXPECT_TRUE(received.regions.front() == region_.info());
  EXPECT_TRUE(test::is_close_on_exec(received.on.fd()));
}

TEST_P(handoff_over, keeps_the_order_of_regions_and_their_offsets) {
  const auto second = [&](std::size_t page) {
    auto info = region_.info();
    info.range = memory_.page(page);
    info.tag = page;
    info.offset = page * page_size();
    return info;
  };
  const std::vector<region_info> sent{second(2), second(0), second(3)};
  handoff::send(sockets_.one(), on_, sent);
  EXPECT_TRUE(receive().regions == sent);
}

TEST_P(handoff_over, may_carry_no_region) {
  handoff::send(sockets_.one(), on_, {});
  EXPECT_TRUE(receive().regions.empty());
}

TEST_P(handoff_over, lets_a_fault_handler_of_another_process_serve) {
  const test::forked pager([&] {
    const fault_handler handler(receive(), test::fill_by_offset(), test::one_thread());
    for (;;) ::pause();
  });
  send();
  for (std::size_t page = 0; page < pages; ++page)
    EXPECT_EQ(test::toucher(memory_.at(page)).saw(), test::shows(test::byte_of(page)));
}

TEST_P(handoff_over, lets_a_fault_handler_of_this_process_serve) {
  UFFDPP_REQUIRE(test::kernel_has(feature::poison));  // without, its end ends the process
  send();
  const fault_handler handler(receive(), test::fill_by_offset());
  EXPECT_EQ(test::toucher(memory_.at(3)).saw(), test::shows(test::byte_of(3)));
}

TEST_P(handoff_over, that_is_dropped_leaves_the_memory_to_its_sender) {
  send();
  { const auto dropped = receive(); }
  test::toucher waiting(memory_.at(1));
  EXPECT_TRUE(waiting.waits());
  EXPECT_EQ(on_.copy(memory_.at(1), test::filled(page_size(), 9)).number, 0);
  EXPECT_EQ(waiting.saw(), test::shows(9));
}

TEST_P(handoff_over, to_one_that_dies_leaves_the_memory_to_its_sender) {
  send();
  const auto end = test::in_child([&] {
    const auto received = receive();
    ::raise(SIGKILL);
  });
  EXPECT_EQ(end, test::dies_of(SIGKILL));
  test::toucher waiting(memory_.at(1));
  EXPECT_TRUE(waiting.waits());
  EXPECT_EQ(on_.copy(memory_.at(1), test::filled(page_size(), 9)).number, 0);
  EXPECT_EQ(waiting.saw(), test::shows(9));
}

TEST_P(handoff_over, that_is_never_received_leaks_nothing) {
  const auto before = test::open_descriptors();
  send();
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST_P(handoff_over, takes_one_descriptor_and_gives_it_back) {
  send();
  const auto before = test::open_descriptors();
  {
    const auto received = receive();
    EXPECT_EQ(test::open_descriptors(), before + 1);
  }
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST_P(handoff_over, reads_nothing_beyond_the_message) {
  send();
  const std::array next{std::byte{'n'}, std::byte{'e'}};
  ASSERT_TRUE(test::send_bytes(sockets_.one(), next));
  send();
  static_cast<void>(receive());
  const auto read = test::receive_bytes(sockets_.other(), next.size());
  EXPECT_TRUE(std::equal(read.begin(), read.end(), next.begin(), next.end()));
  EXPECT_EQ(receive().regions.size(), 1U);
}

TEST_P(handoff_over, may_follow_another_at_once) {
  send();
  handoff::send(sockets_.one(), on_, {});
  send();
  EXPECT_EQ(receive().regions.size(), 1U);
  EXPECT_EQ(receive().regions.size(), 0U);
  EXPECT_EQ(receive().regions.size(), 1U);
}

TEST_P(handoff_over, keeps_unknown_bits) {
  auto odd = region_.info();
  odd.modes |= flags<register_mode>::from_bits(1ULL << 40);
  odd.ioctls |= flags<range_ioctl>::from_bits(1ULL << 63);
  handoff::send(sockets_.one(), on_, {&odd, 1});
  EXPECT_TRUE(receive().regions.front() == odd);
}

TEST_P(handoff_over, refuses_regions_that_no_kernel_has) {
  const auto refused = [&](auto change) {
    auto info = region_.info();
    change(info);
    return test::thrown([&] { handoff::send(sockets_.one(), on_, {&info, 1}); });
  };
  EXPECT_EQ(refused([](region_info& info) { info.page_size = 3 * page_size(); }), EINVAL);
  EXPECT_EQ(refused([](region_info& info) { info.page_size = 1; }), EINVAL);
  EXPECT_EQ(refused([](region_info& info) { info.range = {}; }), EINVAL);
  EXPECT_EQ(refused([](region_info& info) {
              info.range = {page_size() + 1, page_size()};
            }),
            EINVAL);
  EXPECT_EQ(refused([](region_info& info) {
              info.range = {0 - page_size(), 2 * page_size()};
            }),
            EINVAL);
  EXPECT_EQ(refused([](region_info& info) { info.modes = {}; }), EINVAL);
  EXPECT_EQ(refused([](region_info& info) { info.offset = 0 - std::size_t{1}; }), EINVAL);
  const std::vector twice(2, region_.info());
  EXPECT_EQ(test::thrown([&] { handoff::send(sockets_.one(), on_, twice); }), EINVAL);
  EXPECT_TRUE(test::receive_bytes(sockets_.other()).empty()) << "something was sent";
}

TEST_P(handoff_over, carries_as_many_regions_as_both_allow) {
  std::vector<region_info> many(handoff::options().most_regions, region_.info());
  for (std::size_t i = 0; i < many.size(); ++i)
    many[i].range = {(i + 1) * page_size(), page_size()};
  std::optional<handed_over> received;
  test::background receiver([&] { received.emplace(receive()); });
  handoff::send(sockets_.one(), on_, many);
  ASSERT_TRUE(receiver.finishes());
  EXPECT_TRUE(received->regions == many);
}

TEST_P(handoff_over, takes_no_memory_for_regions_that_do_not_come) {
  send();
  EXPECT_EQ(handoff::receive(sockets_.other(), {.most_regions = SIZE_MAX}).regions, regions());
}

TEST_P(handoff_over, refuses_to_send_or_receive_more_regions_than_allowed) {
  std::vector<region_info> two{region_.info(), region_.info()};
  two[0].range = memory_.page(0);
  two[1].range = memory_.page(1);
  EXPECT_EQ(test::thrown([&] { handoff::send(sockets_.one(), on_, two, {.most_regions = 1}); }),
            EMSGSIZE);
  handoff::send(sockets_.one(), on_, two);
  EXPECT_EQ(test::thrown([&] {
              static_cast<void>(handoff::receive(sockets_.other(), {.most_regions = 1}));
            }),
            EMSGSIZE);
}

TEST_P(handoff_over, refuses_handles_that_are_none) {
  handle moved = std::move(on_);
  EXPECT_EQ(test::thrown([&] { send(); }), EBADF);
  on_ = std::move(moved);
  EXPECT_EQ(test::in_child([&] { return test::thrown([&] { send(); }); }),
            test::exits_with(EOWNERDEAD));
}

TEST_P(handoff_over, carries_children_that_were_followed) {
  UFFDPP_REQUIRE(test::followed_forks());
  const test::memory memory(test::memory_kind::anonymous, 2);
  fault_handler handler(test::fill_by_offset(), test::one_thread());
  const auto served = handler.serve(memory.range());
  const auto second_byte = [&] { return std::to_integer<int>(test::read_byte(memory.at(1))); };
  std::array<int, 2> gate{};
  ASSERT_EQ(::pipe(gate.data()), 0);
  test::forked child([&] {
    char told = 0;
    ::close(gate[1]);
    static_cast<void>(::read(gate[0], &told, 1));
    return second_byte();
  });
  auto given = handler.hand_over();
  ASSERT_EQ(given.children.size(), 1U);
  EXPECT_EQ(test::thrown([&] { handoff::send(sockets_.one(), given, {.most_children = 0}); }),
            EMSGSIZE);
  handoff::send(sockets_.one(), given);
  auto received = receive();
  ASSERT_EQ(received.children.size(), 1U);
  EXPECT_TRUE(received.children.front().lent);
  EXPECT_TRUE(received.children.front().regions == given.children.front().regions);
  given.release();
  const fault_handler successor(std::move(received), test::fill_by_offset());
  ::close(gate[0]);
  ::close(gate[1]);
  EXPECT_EQ(child.wait(), test::exits_with(test::byte_of(1)));
}

TEST_P(handoff_over, refuses_children_beyond_the_receivers_limit) {
  UFFDPP_REQUIRE(test::followed_forks());
  const test::memory memory(test::memory_kind::anonymous, 1);
  fault_handler handler(test::fill_by_offset(), test::one_thread());
  const auto served = handler.serve(memory.range());
  const test::forked child([] { ::pause(); });
  const auto given = handler.hand_over();
  handoff::send(sockets_.one(), given);
  const auto before = test::open_descriptors();
  EXPECT_EQ(test::thrown([&] {
              static_cast<void>(handoff::receive(sockets_.other(), {.most_children = 0}));
            }),
            EMSGSIZE);
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST_P(handoff_over, tells_who_the_peer_is) {
  const auto who = handoff::peer_of(sockets_.one());
  EXPECT_EQ(who.process, ::getpid());
  EXPECT_EQ(who.user, ::geteuid());
  EXPECT_EQ(who.group, ::getegid());
  EXPECT_TRUE(!who.pidfd || test::is_close_on_exec(who.pidfd.get()));
}

TEST(handoff, refuses_what_is_no_connected_unix_socket) {
  const auto on = handle::open();
  const auto refused = [&](int socket) {
    const int sent = test::thrown([&] { handoff::send(socket, on, {}); });
    const int received = test::thrown([&] { static_cast<void>(handoff::receive(socket)); });
    EXPECT_EQ(sent, received);
    return sent;
  };
  EXPECT_EQ(refused(-1), EBADF);
  EXPECT_EQ(refused(on.fd()), ENOTSOCK);
  EXPECT_EQ(refused(unique_fd(::socket(AF_INET, SOCK_STREAM, 0)).get()), EPROTOTYPE);
  EXPECT_EQ(refused(unique_fd(::socket(AF_UNIX, SOCK_DGRAM, 0)).get()), EPROTOTYPE);
  EXPECT_EQ(refused(unique_fd(::socket(AF_UNIX, SOCK_STREAM, 0)).get()), ENOTCONN);
  EXPECT_EQ(refused(unique_fd(::socket(AF_UNIX, SOCK_SEQPACKET, 0)).get()), ENOTCONN);
  const unique_fd lonely(::socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(test::thrown([&] { static_cast<void>(handoff::peer_of(lonely.get())); }), ENOTCONN);
}

}  // namespace
}  // namespace uffd
