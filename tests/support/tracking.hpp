// SPDX-License-Identifier: MIT
// Trackers of every engine, and what they tell.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/flags.hpp"
#include "uffd/page_range.hpp"
#include "uffd/tracking/write_tracker.hpp"

namespace uffd::test {

inline constexpr std::array every_engine{tracker_engine::asynchronous, tracker_engine::synchronous};

inline std::string name_of(tracker_engine engine) {
  return engine == tracker_engine::asynchronous ? "asynchronous" : "synchronous";
}

// What is lacking for it: UFFDPP_REQUIRE(test::can_track(GetParam())).
inline std::string can_track(tracker_engine engine) {
  if (engine == tracker_engine::asynchronous) return kernel_has(feature::wp_async);
  const auto lacking = kernel_has(feature::pagefault_flag_wp);
  return lacking.empty() ? kernel_faults() : lacking;
}

// The same tests for each engine.
class every_tracker : public testing::TestWithParam<tracker_engine> {
 protected:
  void SetUp() override { UFFDPP_REQUIRE(can_track(GetParam())); }
};

#define UFFDPP_FOR_EVERY_TRACKER(suite)                                    \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(test::every_engine), \
                           [](const auto& tested) { return test::name_of(tested.param); })

inline void write(std::uintptr_t address, int value = 7) {
  ASSERT_EQ(try_write(address, value), shows(value));
}

// Where its small pages begin.
inline std::vector<std::uintptr_t> pages_of(page_range memory) {
  std::vector<std::uintptr_t> pages;
  for (auto at = memory.begin(); at < memory.end(); at += page_size()) pages.push_back(at);
  return pages;
}

using runs = std::vector<page_range>;

inline runs collected(const tracked_memory& tracked, page_range part) {
  runs found;
  tracked.collect(part, [&](page_range run) { found.push_back(run); });
  return found;
}
inline runs collected(const tracked_memory& tracked) { return collected(tracked, tracked.range()); }

}  // namespace uffd::test
