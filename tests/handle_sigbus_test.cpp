// SPDX-License-Identifier: MIT
// feature::sigbus on each kind of memory: a signal handler of the test's own resolves the faults,
// in this process and in followed children.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "support/events.hpp"
#include "support/followed_child.hpp"
#include "support/forked.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"

namespace uffd {
namespace {

// What the signal handler needs; it allocates nothing.
struct resolver {
  const handle* on = nullptr;  // null: leaves the page as it is, and lets sight.hpp land
  const test::memory* memory = nullptr;
  std::vector<std::byte> content;
  flags<fill_mode> mode;
  std::atomic<int> missing{0};
  std::atomic<int> write_protect{0};
  std::atomic<int> strange{0};
};
resolver* current = nullptr;

// Missing first: where the page is there, it was protected.
void resolve_in_signal(int /*number*/, siginfo_t* info, void* /*context*/) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const auto page = align_down(address, current->memory->page_size());
  if (info->si_code != BUS_ADRERR || !current->memory->range().contains(address))
    ++current->strange;
  const auto copied = current->on->copy(page, current->content, current->mode);
  if (copied) {
    ++current->missing;
  } else if (copied.error() == condition::already_present) {
    ++current->write_protect;
    if (!current->on->write_unprotect({page, current->memory->page_size()})) ++current->strange;
  } else {
    ++current->strange;
  }
}

// Four pages of a kind, registered for missing and perhaps for write-protect faults.
class feature_sigbus_on : public testing::TestWithParam<std::tuple<test::memory_kind, bool>> {
 protected:
  static constexpr int pages = 4;

  void SetUp() override {
    const auto [kind, protects] = GetParam();
    modes_ = register_mode::missing;
    if (protects) modes_ |= register_mode::write_protect;
    UFFDPP_REQUIRE(test::kernel_has(feature::sigbus));
    UFFDPP_REQUIRE(test::available(kind, pages, modes_));
    memory_.emplace(kind, pages);
  }

  bool protects() const { return std::get<1>(GetParam()); }
  handle serve(flags<feature> with = {}) const {
    auto on = handle::open(
        {.required = feature::sigbus | with | test::features_of(std::get<0>(GetParam()), modes_)});
    on.register_range(memory_->range(), modes_);
    return on;
  }

  std::optional<test::memory> memory_;
  flags<register_mode> modes_;
};
INSTANTIATE_TEST_SUITE_P(memory, feature_sigbus_on,
                         testing::Combine(testing::ValuesIn(test::every_kind), testing::Bool()),
                         [](const auto& made) {
                           return std::string(test::name_of(std::get<0>(made.param))) +
                                  (std::get<1>(made.param) ? "_protected" : "");
                         });

TEST_P(feature_sigbus_on, lets_the_faulting_thread_resolve_each_page_with_one_signal) {
  const auto on = serve();
  resolver state;
  state.on = &on;
  state.memory = &*memory_;
  state.content = test::filled(memory_->page_size(), 7);
  if (protects()) state.mode = fill_mode::write_protect;
  current = &state;
  struct sigaction action {};
  struct sigaction former {};
  action.sa_sigaction = resolve_in_signal;
  action.sa_flags = SA_SIGINFO;
  ASSERT_EQ(::sigaction(SIGBUS, &action, &former), 0);
  std::array<int, pages> seen{};
  for (std::size_t i = 0; i < pages; ++i)
    seen.at(i) = std::to_integer<int>(test::read_byte(memory_->at(i) + i));
  for (std::size_t i = 0; i < pages; ++i) test::write_byte(memory_->at(i), 9);
  ASSERT_EQ(::sigaction(SIGBUS, &former, nullptr), 0);
  for (std::size_t i = 0; i < pages; ++i) {
    EXPECT_EQ(seen.at(i), 7);
    EXPECT_EQ(test::look(memory_->at(i)), test::shows(9));
  }
  EXPECT_EQ(state.missing, pages);
  EXPECT_EQ(state.write_protect, protects() ? pages : 0);
  EXPECT_EQ(state.strange, 0);
  EXPECT_FALSE(test::readable(on.fd(), test::moment)) << "no message";
}

TEST_P(feature_sigbus_on, gives_followed_children_signals_and_no_message) {
  UFFDPP_REQUIRE(test::fork_events());
  const auto on = serve(feature::event_fork);
  test::followed_child child(on, [this] {
    test::detail::install_handlers();  // a forked child has none
    for (std::size_t i = 0; i < pages; ++i)
      if (test::look(memory_->at(i)) != test::takes_sigbus) return static_cast<int>(i) + 1;
    return 0;
  });
  EXPECT_EQ(child.process().wait(), test::exits_with(0));
  EXPECT_FALSE(test::readable(child.on().fd(), test::moment));
  EXPECT_FALSE(test::readable(on.fd(), std::chrono::milliseconds(0)));
}

}  // namespace
}  // namespace uffd
