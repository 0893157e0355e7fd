// SPDX-License-Identifier: MIT
// Memory of every kind whose snapshots are tested, also as older kernels tell of it.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <ostream>

#include "support/memory.hpp"
#include "support/pictured.hpp"
#include "support/requires.hpp"
#include "tracking/page_map.hpp"
#include "uffd/flags.hpp"
#include "uffd/tracking/snapshot_options.hpp"

namespace uffd::test {

// Memory, and as what kernel this one counts.
struct saved_kind {
  memory_kind kind;
  uffd::detail::page_lookup lookup = uffd::detail::page_lookup::scan;
};

inline std::ostream& operator<<(std::ostream& out, const saved_kind& of) {
  out << of.kind;
  if (of.lookup == uffd::detail::page_lookup::entries) out << "_by_entries";
  if (of.lookup == uffd::detail::page_lookup::entries_without_marks) out << "_without_marks";
  return out;
}

class saved_memory : public testing::TestWithParam<saved_kind> {
 protected:
  static constexpr std::size_t pages = 8;

  void SetUp() override {
    UFFDPP_REQUIRE(snapshots_of(kind(), pages));
    if (lookup() == uffd::detail::page_lookup::entries_without_marks)
      UFFDPP_REQUIRE(kernel_has(feature::event_remove));
    memory_.emplace(kind(), pages);
  }
  static memory_kind kind() { return GetParam().kind; }
  static uffd::detail::page_lookup lookup() { return GetParam().lookup; }
  const test::memory& memory() const { return *memory_; }
  static pictured pictures_of(const test::memory& of, const snapshot_options& options = {}) {
    return pictured(of, options, nullptr, lookup());
  }
  pictured pictures() const { return pictures_of(memory()); }
  off_t as_offset(std::size_t page) const {
    return static_cast<off_t>(page * memory().page_size());
  }
  // Page n has n + 1.
  void fill() const {
    for (std::size_t page = 0; page < pages; ++page)
      write(memory().at(page), static_cast<int>(page + 1));
  }
  // Whether the kernel can drop such pages.
  bool drop(std::size_t page) const {
    return ::madvise(memory().bytes().data() + page * memory().page_size(), memory().page_size(),
                     MADV_DONTNEED) == 0;
  }
  // What a page has after that.
  static int left_after_drop(std::size_t page) {
    return is_shared(kind()) ? static_cast<int>(page + 1) : 0;
  }

 private:
  std::optional<test::memory> memory_;
};

}  // namespace uffd::test

// Runs the tests of a suite, which is derived from saved_memory, with each kind.
#define UFFDPP_FOR_EVERY_SAVED_MEMORY(suite)                                              \
  INSTANTIATE_TEST_SUITE_P(                                                               \
      memory, suite,                                                                      \
      testing::Values(                                                                    \
          test::saved_kind{test::memory_kind::anonymous},                                 \
          test::saved_kind{test::memory_kind::shared},                                    \
          test::saved_kind{test::memory_kind::private_file},                              \
          test::saved_kind{test::memory_kind::huge},                                      \
          test::saved_kind{test::memory_kind::shared_huge},                               \
          test::saved_kind{test::memory_kind::anonymous, detail::page_lookup::entries},   \
          test::saved_kind{test::memory_kind::shared, detail::page_lookup::entries},      \
          test::saved_kind{test::memory_kind::huge, detail::page_lookup::entries},        \
          test::saved_kind{test::memory_kind::shared_huge, detail::page_lookup::entries}, \
          test::saved_kind{test::memory_kind::anonymous,                                  \
                           detail::page_lookup::entries_without_marks}),                  \
      [](const auto& of) { return testing::PrintToString(of.param); })
