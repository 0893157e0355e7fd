// SPDX-License-Identifier: MIT
// What a stop leaves where a fault waits and where nobody looked yet: for each kind of memory and
// of fault.
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>

#include "support/awaited.hpp"
#include "support/closed_page.hpp"
#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/serving.hpp"
#include "support/sight.hpp"
#include "support/toucher.hpp"
#include "support/watchdog.hpp"
#include "uffd/fault_handler.hpp"

namespace uffd {
namespace {

// What becomes of a fault's callback before the stop.
enum class in_flight { deferred, retried };

using stop_case = std::tuple<test::memory_kind, fault_kind, in_flight>;

std::string name_of(const testing::TestParamInfo<stop_case>& parameters) {
  constexpr std::array kinds{"missing", "minor", "write_protect"};
  const auto [memory, fault, waits] = parameters.param;
  return std::string(test::name_of(memory)) + "_" + kinds.at(static_cast<std::size_t>(fault)) +
         (waits == in_flight::deferred ? "_deferred" : "_retried");
}

// Page 0 was served, page 1 is waited for, page 2 never asked for.
class stop_on_every_kind : public testing::TestWithParam<stop_case> {
 protected:
  static test::memory_kind kind() { return std::get<0>(GetParam()); }
  static fault_kind cause() { return std::get<1>(GetParam()); }
  static flags<register_mode> modes() {
    if (cause() == fault_kind::missing) return register_mode::missing;
    if (cause() == fault_kind::minor) return register_mode::minor;
    return register_mode::write_protect;
  }

  void SetUp() override {
    UFFDPP_REQUIRE(test::available(kind(), 3, modes()));
    memory_.emplace(kind(), 3);
  }

  void start(stop_policy policy) {
    populate();
    auto options = test::one_thread();
    options.on_stop = policy;
    options.open.required |= test::features_of(kind(), modes());
    handler_.emplace([this](fault& raised) { return answer(raised); }, options);
    region_ = handler_->serve(memory_->range(),
                              serve_options{.modes = modes(), .page_size = memory_->page_size()});
    if (cause() == fault_kind::write_protect) {
      ASSERT_TRUE(handler_->on().write_protect(memory_->range()));
    }
    EXPECT_EQ(test::toucher(memory_->at(0)).saw(), test::shows(value_of_page(0)));
    if (cause() == fault_kind::write_protect)
      waiting_.emplace(memory_->at(1), 9);
    else
      waiting_.emplace(memory_->at(1));
    ASSERT_TRUE(waits_.comes());
  }

  void stop() {
    handler_->request_stop();
    handler_->join();
  }

  // What the successor shows, or the handler before its stop.
  static resolution serve(fault& raised, int value) {
    EXPECT_EQ(raised.kind(), cause());
    if (cause() == fault_kind::missing) return test::fill(raised, value);
    return cause() == fault_kind::minor ? raised.continue_() : raised.unprotect();
  }
  // Minor and protected pages have a content of their own.
  static int value_of_page(int served) { return cause() == fault_kind::missing ? served : 7; }

  std::optional<test::memory> memory_;
  std::optional<deferred_fault> deferred_;
  std::optional<fault_handler> handler_;
  served_region region_;
  std::optional<test::toucher> waiting_;

 private:
  void populate() {
    if (cause() == fault_kind::missing) return;
    std::optional<mapping> alias;
    if (cause() == fault_kind::minor) alias.emplace(memory_->mapping().alias());
    const auto begin = alias ? alias->range().begin() : memory_->begin();
    for (std::size_t page = 0; page < 3; ++page)
      test::write_byte(begin + page * memory_->page_size(), 7);
  }

  resolution answer(fault& raised) {
    if (raised.offset() == 0) return serve(raised, 0);
    waits_.set();
    if (std::get<2>(GetParam()) == in_flight::retried) return resolution::retry();
    deferred_.emplace(raised.defer());
    return resolution::deferred();
  }

  test::signal waits_;
};

INSTANTIATE_TEST_SUITE_P(every_memory, stop_on_every_kind,
                         testing::Combine(testing::ValuesIn(test::every_kind),
                                          testing::Values(fault_kind::missing,
                                                          fault_kind::write_protect),
                                          testing::Values(in_flight::deferred, in_flight::retried)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(shared_memory, stop_on_every_kind,
                         testing::Combine(testing::ValuesIn(test::shared_kinds),
                                          testing::Values(fault_kind::minor),
                                          testing::Values(in_flight::deferred, in_flight::retried)),
                         name_of);

TEST_P(stop_on_every_kind, inaccessible_hides_what_was_not_served) {
  start(stop_policy::inaccessible);
  stop();
  // A write to a protected page goes through unrecorded.
  const bool is_write = cause() == fault_kind::write_protect;
  EXPECT_EQ(waiting_->saw(), is_write ? test::shows(9) : test::closed_page());
  EXPECT_EQ(test::look(memory_->at(2)), is_write ? test::shows(7) : test::closed_page());
  const auto shows = is_write ? test::shows : test::still_shows;
  EXPECT_EQ(test::look(memory_->at(0)), shows(value_of_page(0)));
  EXPECT_EQ(test::try_write(memory_->at(0), 5), shows(5));
}

TEST_P(stop_on_every_kind, leave_zero_leaves_what_the_kernel_has) {
  start(stop_policy::leave_zero);
  stop();
  const bool is_write = cause() == fault_kind::write_protect;
  EXPECT_EQ(waiting_->saw(), test::shows(is_write ? 9 : value_of_page(0)));
  EXPECT_EQ(test::look(memory_->at(2)), test::shows(value_of_page(0)));
  EXPECT_EQ(test::try_write(memory_->at(2), 5), test::shows(5));
}

TEST_P(stop_on_every_kind, hand_over_lets_threads_wait_for_the_successor) {
  start(stop_policy::hand_over);
  auto handed = handler_->hand_over();
  EXPECT_TRUE(waiting_->waits());
  deferred_.reset();
  const bool is_write = cause() == fault_kind::write_protect;
  std::optional<test::toucher> late;
  if (is_write)
    late.emplace(memory_->at(2), 8);
  else
    late.emplace(memory_->at(2));
  EXPECT_TRUE(late->waits());
  ASSERT_EQ(handed.regions.size(), 1U);
  EXPECT_EQ(handed.regions.front().modes, modes());
  EXPECT_EQ(handed.regions.front().page_size, memory_->page_size());
  fault_handler successor(
      std::move(handed), [](fault& raised) { return serve(raised, 2); }, test::one_thread());
  EXPECT_EQ(waiting_->saw(), test::shows(is_write ? 9 : value_of_page(2)));
  EXPECT_EQ(late->saw(), test::shows(is_write ? 8 : value_of_page(2)));
  EXPECT_EQ(test::look(memory_->at(0)), test::shows(value_of_page(0)));
  EXPECT_FALSE(test::error_after_stop(successor));
}

}  // namespace
}  // namespace uffd
