// SPDX-License-Identifier: MIT
// The fixture of tests that move pages.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <optional>
#include <utility>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"

namespace uffd::test {

// to() is registered for missing faults; from() holds 1, 2, 3, 4 in its pages.
class pages_to_move : public testing::Test {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(kernel_has(feature::move));
    on_.emplace(handle::open(
        {.required = feature::move, .optional = feature::poison | feature::event_remove}));
    on_->register_range(to_->range(), register_mode::missing);
    // Whole transparent huge pages would move as one.
    ::madvise(from_.bytes().data(), from_.size(), MADV_NOHUGEPAGE);
    for (std::size_t i = 0; i < pages; ++i) write_byte(from_.at(i), static_cast<int>(i) + 1);
  }

  const handle& on() const { return *on_; }
  const memory& to() const { return *to_; }
  const memory& from() const { return from_; }
  // From here on there is no to().
  void unmap_to() { to_.reset(); }

 private:
  static constexpr std::size_t pages = 4;

  std::optional<memory> to_{std::in_place, memory_kind::anonymous, pages};
  const memory from_{memory_kind::anonymous, pages};
  std::optional<handle> on_;
};

}  // namespace uffd::test
