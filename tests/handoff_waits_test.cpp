// SPDX-License-Identifier: MIT
// How long both sides of a hand-off wait, and what they say of a peer that is gone.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <optional>

#include "support/background.hpp"
#include "support/handing_over.hpp"
#include "support/refusal.hpp"
#include "support/sockets.hpp"
#include "uffd/handoff.hpp"

namespace uffd {
namespace {

using namespace std::chrono_literals;

using handoff_that = test::handing_over;
INSTANTIATE_TEST_SUITE_P(sockets, handoff_that, test::both_sockets, test::socket_name);

// A receiver that comes late, and a socket that doesn't wait by itself.
TEST_P(handoff_that, waits_for_a_message) {
  for (const int status : {0, O_NONBLOCK}) {
    ASSERT_EQ(::fcntl(sockets_.other(), F_SETFL, status), 0);
    std::optional<handed_over> received;
    test::background receiver([&] { received.emplace(receive()); });
    EXPECT_TRUE(receiver.blocks());
    send();
    ASSERT_TRUE(receiver.finishes());
    EXPECT_EQ(received->regions.size(), 1U);
  }
}

TEST_P(handoff_that, waits_though_signals_come) {
  struct sigaction quiet {};
  quiet.sa_handler = [](int) {};
  struct sigaction former {};
  ASSERT_EQ(::sigaction(SIGUSR1, &quiet, &former), 0);
  std::optional<handed_over> received;
  test::background receiver([&] { received.emplace(receive()); });
  EXPECT_TRUE(receiver.blocks());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(::tgkill(::getpid(), receiver.thread_id(), SIGUSR1), 0);
  EXPECT_TRUE(receiver.blocks());
  send();
  ASSERT_TRUE(receiver.finishes());
  EXPECT_TRUE(received);
  ::sigaction(SIGUSR1, &former, nullptr);
}

TEST_P(handoff_that, waits_no_longer_than_its_limit_for_a_message) {
  EXPECT_EQ(test::thrown([&] {
              static_cast<void>(handoff::receive(sockets_.other(), {.time_limit = 20ms}));
            }),
            ETIMEDOUT);
}

TEST_P(handoff_that, waits_no_longer_than_its_limit_for_room) {
  test::fill_up(sockets_.one());
  EXPECT_EQ(
      test::thrown([&] { handoff::send(sockets_.one(), on_, regions(), {.time_limit = 20ms}); }),
      ETIMEDOUT);
}

TEST_P(handoff_that, takes_any_time_limit) {
  handoff::send(sockets_.one(), on_, regions(), {.time_limit = 0ms});
  static_cast<void>(handoff::receive(sockets_.other(), {.time_limit = -1ms}));
  handoff::send(sockets_.one(), on_, regions(), {.time_limit = std::chrono::milliseconds::max()});
  static_cast<void>(
      handoff::receive(sockets_.other(), {.time_limit = std::chrono::milliseconds::max()}));
}

TEST_P(handoff_that, goes_to_a_closed_socket_is_epipe_without_a_signal) {
  sockets_.close_other();
  EXPECT_EQ(test::thrown([&] { send(); }), EPIPE);
}

TEST_P(handoff_that, comes_from_a_closed_socket_is_econnreset) {
  sockets_.close_one();
  EXPECT_EQ(test::thrown([&] { static_cast<void>(receive()); }), ECONNRESET);
}

TEST_P(handoff_that, comes_from_one_that_closes_meanwhile_is_econnreset) {
  int number = 0;
  test::background receiver([&] { number = test::thrown([&] { static_cast<void>(receive()); }); });
  EXPECT_TRUE(receiver.blocks());
  sockets_.close_one();
  ASSERT_TRUE(receiver.finishes());
  EXPECT_EQ(number, ECONNRESET);
}

}  // namespace
}  // namespace uffd
