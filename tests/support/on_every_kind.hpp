// SPDX-License-Identifier: MIT
// The fixture of tests that must hold for each kind of memory.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "support/memory.hpp"
#include "support/requires.hpp"
#include "uffd/flags.hpp"
#include "uffd/handle.hpp"
#include "uffd/open_options.hpp"

namespace uffd::test {

// What makes more memory and more ioctls usable, without any event that somebody would have to
// read.
inline constexpr auto harmless_features =
    feature::pagefault_flag_wp | feature::missing_hugetlbfs | feature::missing_shmem |
    feature::thread_id | feature::minor_hugetlbfs | feature::minor_shmem |
    feature::wp_hugetlbfs_shmem | feature::wp_unpopulated | feature::poison | feature::move;

// Four pages of the kind, and a handle that nothing is registered with yet.
//   class my_suite : public test::on_every_kind {};   UFFDPP_ON_EVERY_KIND(my_suite);
class on_every_kind : public testing::TestWithParam<memory_kind> {
 protected:
  static constexpr std::size_t pages = 4;

  void SetUp() override {
    UFFDPP_REQUIRE(available(GetParam(), pages));
    memory_.emplace(GetParam(), pages);
    fence_.emplace(memory_->range());
    on_.emplace(handle::open({.optional = harmless_features}));
  }

  const handle& on() const { return *on_; }
  const test::memory& memory() const { return *memory_; }
  std::size_t page_size() const { return page_size_of(GetParam()); }
  // From here on there is no memory().
  void unmap() { memory_.reset(); }

  // Why this kind can't be registered so; nothing if it can: UFFDPP_REQUIRE(can(...)).
  std::string can(flags<register_mode> modes) const {
    return kernel_has(features_of(GetParam(), modes));
  }
  // Registers all of it.
  flags<range_ioctl> serve(flags<register_mode> modes = register_mode::missing) const {
    return on().register_range(memory().range(), modes);
  }
  // As many bytes as that many pages have.
  std::vector<std::byte> bytes(int value, std::size_t count = 1) const {
    return filled(count * page_size(), value);
  }

 private:
  std::optional<test::memory> memory_;
  std::optional<fence> fence_;
  std::optional<handle> on_;
};

}  // namespace uffd::test
