// SPDX-License-Identifier: MIT
#include "uffd/handle_keeper.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>

#include "support/awaited.hpp"
#include "support/closed_page.hpp"
#include "support/descriptors.hpp"
#include "support/forked.hpp"
#include "support/held_child.hpp"
#include "support/memory.hpp"
#include "support/refusal.hpp"
#include "support/registered.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/sockets.hpp"
#include "support/toucher.hpp"

namespace uffd {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t pages = 8;

fault_handler_options for_a_successor() {
  auto options = test::one_thread();
  options.on_stop = stop_policy::hand_over;
  return options;
}

// Connects to a keeper and serves until its end.
class pager {
 public:
  template <class H>
  pager(const test::listening_name& name, H&& callbacks)
      : connection_(name.connect()),
        handler_(handoff::receive(connection_.get()), std::forward<H>(callbacks),
                 for_a_successor()) {}

 private:
  unique_fd connection_;  // closes after the handler has stopped
  fault_handler handler_;
};

// A process that serves until it is killed, once it is let go.
template <class H>
test::held_child pager_process(const test::listening_name& name, H callbacks) {
  return test::held_child([&name, callbacks] {
    const pager serving(name, H(callbacks));
    for (;;) ::pause();
  });
}

class handle_keeper_of_memory : public testing::TestWithParam<int> {
 protected:
  test::memory memory_{test::memory_kind::anonymous, pages};
  test::listening_name name_{GetParam()};
  std::optional<handle_keeper> keeper_;

  void keep(handle_keeper_options options = {}) {
    if (options.pager_within == handle_keeper_options().pager_within)
      options.pager_within = test::patience;
    keeper_.emplace(test::registered(memory_), name_.take(), std::move(options));
  }
  test::sight look(std::size_t page) const { return *test::toucher(memory_.at(page)).saw(); }
};
INSTANTIATE_TEST_SUITE_P(sockets, handle_keeper_of_memory, test::both_sockets, test::socket_name);

TEST_P(handle_keeper_of_memory, lets_a_pager_serve) {
  keep();
  test::toucher early(memory_.at(0));
  EXPECT_TRUE(early.waits());
  EXPECT_EQ(keeper_->pagers(), 0U);
  const pager serving(name_, test::fill_by_offset());
  EXPECT_EQ(early.saw(), test::shows(1));
  EXPECT_EQ(look(5), test::shows(6));
  EXPECT_EQ(keeper_->pagers(), 1U);
  EXPECT_FALSE(keeper_->gave_up());
}

TEST_P(handle_keeper_of_memory, lets_faults_wait_between_pagers) {
  keep();
  {
    const pager first(name_, test::fill_by_offset());
    EXPECT_EQ(look(0), test::shows(1));
  }
  test::toucher waiting(memory_.at(1));
  EXPECT_TRUE(waiting.waits());
  const pager second(name_, [](fault& raised) { return test::fill(raised, 100); });
  EXPECT_EQ(waiting.saw(), test::shows(100));
  EXPECT_EQ(look(0), test::shows(1));
  EXPECT_EQ(keeper_->pagers(), 2U);
}

// The first one reads the fault and never answers.
TEST_P(handle_keeper_of_memory, raises_again_what_a_killed_pager_had_read) {
  std::array<int, 2> told{};
  ASSERT_EQ(::pipe(told.data()), 0);
  auto stuck = pager_process(name_, [told](fault&) -> resolution {
    static_cast<void>(::write(told[1], "!", 1));
    for (;;) ::pause();
  });
  keep();
  stuck.let_go();
  test::toucher waiting(memory_.at(1));
  char read = 0;
  ASSERT_EQ(::read(told[0], &read, 1), 1);
  const auto connection = name_.connect();
  EXPECT_TRUE(waiting.waits());
  stuck.process().kill();
  const fault_handler successor(handoff::receive(connection.get()), test::fill_by_offset(),
                                for_a_successor());
  EXPECT_EQ(waiting.saw(), test::shows(2));
  for (const int end : told) ::close(end);
}

TEST_P(handle_keeper_of_memory, raises_again_what_was_read_by_one_that_left) {
  keep();
  auto connection = name_.connect();
  test::toucher waiting(memory_.at(1));
  {
    const auto received = handoff::receive(connection.get());
    EXPECT_TRUE(waiting.waits());
    uapi::message message{};
    ASSERT_EQ(::read(received.on.fd(), &message, sizeof message),
              static_cast<ssize_t>(sizeof message));
  }
  connection.reset();
  const pager successor(name_, test::fill_by_offset());
  EXPECT_EQ(waiting.saw(), test::shows(2));
}

TEST_P(handle_keeper_of_memory, gives_the_handle_to_one_pager_at_a_time) {
  keep();
  auto first = name_.connect();
  static_cast<void>(handoff::receive(first.get()));
  const auto second = name_.connect();
  EXPECT_EQ(test::thrown([&] {
              static_cast<void>(handoff::receive(second.get(), {.time_limit = test::moment}));
            }),
            ETIMEDOUT);
  first.reset();
  const fault_handler handler(handoff::receive(second.get()), test::fill_by_offset(),
                              for_a_successor());
  EXPECT_EQ(look(0), test::shows(1));
}

TEST_P(handle_keeper_of_memory, closes_it_if_no_pager_comes) {
  keep({.pager_within = 200ms});
  test::toucher waiting(memory_.at(1));
  EXPECT_EQ(waiting.saw(), test::closed_page());
  EXPECT_TRUE(test::eventually([&] { return keeper_->gave_up(); }));
  EXPECT_EQ(test::look(memory_.at(2)), test::closed_page());
  EXPECT_EQ(test::thrown([&] { static_cast<void>(name_.connect()); }), ECONNREFUSED);
}

TEST_P(handle_keeper_of_memory, closes_it_if_no_successor_comes) {
  keep({.pager_within = 2s});
  {
    const pager first(name_, test::fill_by_offset());
    EXPECT_EQ(look(0), test::shows(1));
  }
  EXPECT_EQ(look(1), test::closed_page());
  EXPECT_EQ(test::look(memory_.at(0)), test::still_shows(1));
}

TEST_P(handle_keeper_of_memory, leaves_zeroes_if_asked_for) {
  keep({.pager_within = 200ms, .on_end = close_policy::leave_zero});
  test::toucher waiting(memory_.at(1));
  EXPECT_EQ(waiting.saw(), test::shows(0));
  EXPECT_EQ(look(2), test::shows(0));
}

TEST_P(handle_keeper_of_memory, is_not_kept_waiting_by_those_it_does_not_trust) {
  keep({.pager_within = 200ms, .trusts = [](const handoff::peer&) { return false; }});
  test::toucher waiting(memory_.at(1));
  while (!waiting.finishes(0ms)) {
    try {
      static_cast<void>(name_.connect());
    } catch (const std::system_error&) {
      break;  // it gave up meanwhile
    }
  }
  EXPECT_EQ(waiting.saw(), test::closed_page());
}

TEST_P(handle_keeper_of_memory, refuses_whom_it_does_not_trust) {
  pid_t asked = 0;
  keep({.trusts = [&](const handoff::peer& who) {
    asked = who.process;
    return false;
  }});
  const auto connection = name_.connect();
  EXPECT_EQ(test::thrown([&] { static_cast<void>(handoff::receive(connection.get())); }),
            ECONNRESET);
  EXPECT_EQ(keeper_->pagers(), 0U);
  keeper_.reset();
  EXPECT_EQ(asked, ::getpid());
}

TEST_P(handle_keeper_of_memory, is_given_to_the_same_user_alone) {
  UFFDPP_REQUIRE(test::root());
  keep();
  const auto stranger = test::in_child([&] {
    if (::setuid(65534) != 0) return 1;
    const auto connection = name_.connect();
    return test::thrown([&] { static_cast<void>(handoff::receive(connection.get())); });
  });
  EXPECT_EQ(stranger, test::exits_with(ECONNRESET));
}

TEST_P(handle_keeper_of_memory, is_closed_at_its_end) {
  keep();
  std::optional<pager> serving(std::in_place, name_, test::fill_by_offset());
  EXPECT_EQ(look(0), test::shows(1));
  keeper_.reset();
  EXPECT_EQ(test::look(memory_.at(0)), test::still_shows(1));
  EXPECT_EQ(test::look(memory_.at(1)), test::closed_page());
}

TEST_P(handle_keeper_of_memory, may_be_moved) {
  keep();
  handle_keeper other = *std::move(keeper_);
  keeper_.reset();
  const pager serving(name_, test::fill_by_offset());
  EXPECT_EQ(look(0), test::shows(1));
  test::memory second(test::memory_kind::anonymous, 1);
  other = handle_keeper(test::registered(second), test::listening_name(GetParam()).take());
  EXPECT_EQ(test::look(memory_.at(1)), test::closed_page());
}

TEST_P(handle_keeper_of_memory, ends_in_a_forked_child_without_harm) {
  keep();
  EXPECT_EQ(test::in_child([&] { keeper_.reset(); }), test::exits_with(0));
  const pager serving(name_, test::fill_by_offset());
  EXPECT_EQ(look(0), test::shows(1));
}

TEST_P(handle_keeper_of_memory, leaks_no_descriptor) {
  const auto cycle = [&] {
    test::listening_name name(GetParam());
    const test::memory memory(test::memory_kind::anonymous, 1);
    const handle_keeper keeper(test::registered(memory), name.take());
    for (int i = 0; i < 3; ++i) {
      const pager serving(name, test::fill_by_offset());
      EXPECT_EQ(test::toucher(memory.at(0)).saw(), test::shows(1));
    }
  };
  cycle();
  const auto before = test::open_descriptors();
  cycle();
  EXPECT_EQ(test::open_descriptors(), before);
}

TEST(handle_keeper, refuses_events) {
  UFFDPP_REQUIRE(test::kernel_has(feature::event_remove));
  const test::memory memory(test::memory_kind::anonymous, 1);
  test::listening_name name;
  const auto refused = test::refusal_of([&] {
    const handle_keeper keeper(test::registered(memory, feature::event_remove), name.take());
  });
  EXPECT_EQ(refused.number, EINVAL);
  EXPECT_TRUE(refused.names("event_remove"));
  EXPECT_EQ(test::look(memory.at(0)), test::closed_page()) << "what it was given is not closed";
}

TEST(handle_keeper, refuses_a_socket_that_does_not_listen) {
  const test::memory memory(test::memory_kind::anonymous, 1);
  EXPECT_EQ(
      test::thrown([&] { const handle_keeper keeper(test::registered(memory), unique_fd(-1)); }),
      EBADF);
  EXPECT_EQ(test::thrown([&] {
              const handle_keeper keeper(test::registered(memory),
                                         unique_fd(::socket(AF_UNIX, SOCK_STREAM, 0)));
            }),
            EINVAL);
}

}  // namespace
}  // namespace uffd
