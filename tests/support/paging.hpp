// SPDX-License-Identifier: MIT
// Pagers of every kind, for tests of all.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "support/page_sources.hpp"
#include "support/requires.hpp"  // IWYU pragma: keep
#include "support/sight.hpp"
#include "uffd/fault_handler.hpp"
#include "uffd/page_range.hpp"
#include "uffd/pager/pager.hpp"

namespace uffd::test {

enum class pager_kind { own_threads, in_thread, shared_handler };

inline std::string name_of(pager_kind kind) {
  switch (kind) {
    case pager_kind::own_threads:
      return "own_threads";
    case pager_kind::in_thread:
      return "in_thread";
    default:
      return "shared_handler";
  }
}

// A pager with what it needs.
class any_pager {
 public:
  explicit any_pager(pager_kind kind, pager_options options = {}) {
    options.statistics = true;
    if (kind == pager_kind::shared_handler) {
      fault_handler_options how;
      how.forks = fork_policy::not_inherited;
      how.open.optional = feature::pagefault_flag_wp | feature::missing_shmem |
                          feature::minor_shmem | feature::missing_hugetlbfs |
                          feature::wp_hugetlbfs_shmem;
      handler_.emplace([](fault&) -> resolution { return std::errc::invalid_argument; }, how);
      pager_.emplace(*handler_, options);
    } else if (kind == pager_kind::in_thread) {
      pager_.emplace(async_signal_safe, options);
    } else {
      pager_.emplace(options);
    }
  }

  const pager* operator->() const { return &*pager_; }

 private:
  std::optional<fault_handler> handler_;
  std::optional<pager> pager_;
};

// The same tests for each kind of pager.
class every_pager : public testing::TestWithParam<pager_kind> {};

#define UFFDPP_FOR_EVERY_PAGER(suite)                                             \
  INSTANTIATE_TEST_SUITE_P(                                                       \
      , suite,                                                                    \
      testing::Values(test::pager_kind::own_threads, test::pager_kind::in_thread, \
                      test::pager_kind::shared_handler),                          \
      [](const auto& tested) { return test::name_of(tested.param); })

inline std::uintptr_t address_of(const std::byte& byte) {
  return reinterpret_cast<std::uintptr_t>(&byte);
}

// What the byte at `offset` shows.
inline sight look_at(const paged_memory& memory, std::size_t offset) {
  return look(reinterpret_cast<std::uintptr_t>(memory.bytes().data()) + offset);
}
// What it should show, of the sources above.
inline sight shows_source(std::uint64_t offset) {
  return shows(std::to_integer<int>(source_byte(offset)));
}

// The offset of the first byte that is not as in the source; none if all are.
inline std::optional<std::size_t> first_wrong(std::span<const std::byte> bytes,
                                              std::size_t offset = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] != source_byte(offset + i)) return offset + i;
  return std::nullopt;
}

}  // namespace uffd::test
