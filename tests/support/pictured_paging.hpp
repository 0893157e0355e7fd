// SPDX-License-Identifier: MIT
// Memory of a pager that is saved, and what it should have.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pager/mapped_source.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/pictured.hpp"
#include "support/requires.hpp"
#include "tracking/paged_area.hpp"
#include "uffd/flags.hpp"
#include "uffd/page_range.hpp"
#include "uffd/pager/map_options.hpp"
#include "uffd/pager/pager.hpp"

namespace uffd::test {

inline uffd::detail::paged_area* paged_area_of(const paged_memory& memory) {
  return &uffd::detail::paged_memory_access::mapped(memory).region;
}
inline pictured pictures_of(const paged_memory& memory, const snapshot_options& options = {}) {
  return pictured(std::vector{paged_area_of(memory)}, options);
}

// Who serves it, and of what pages it is.
struct saved_paging {
  pager_kind by;
  page_backing backing = page_backing::anonymous;
};

inline std::string name_of(const saved_paging& of) {
  return name_of(of.by) + (of.backing == page_backing::huge ? "_of_huge_pages" : "");
}

// A mapping that is kept, a byte of which may be written in each page; the last page is none of the
// source's but for its first byte.
class saved_paged_memory {
 public:
  explicit saved_paged_memory(const saved_paging& kind, std::size_t pages,
                              const pager_options& options = {})
      : page_size_(kind.backing == page_backing::huge ? huge_page_size : uffd::page_size()),
        source((pages - 1) * page_size_ + 1),
        pager_(kind.by, options),
        memory(pager_->map(std::ref(source), how(kind))),
        now(pages * page_size_) {
    for (std::size_t i = 0; i < source.size(); ++i) now[i] = source_byte(i);
  }

  std::uintptr_t at(std::size_t page) const {
    return address_of(memory.bytes()[0]) + page * page_size_;
  }
  std::size_t page_size() const { return page_size_; }
  void write(std::size_t page, int value) {
    test::write(at(page), value);
    now[page * page_size_] = static_cast<std::byte>(value);
  }
  void read(std::size_t page) const {
    ASSERT_EQ(look(at(page)), shows(std::to_integer<int>(now[page * page_size_])));
  }
  std::span<std::byte> page(std::size_t number, std::size_t bytes = 1) const {
    return memory.writable_bytes().subspan(number * page_size_, bytes);
  }

 private:
  static map_options how(const saved_paging& kind) {
    map_options options;
    options.writes = write_policy::keep;
    options.backing = kind.backing;
    options.huge_page = kind.backing == page_backing::huge ? huge_page_size : 0;
    options.expected = access_pattern::random;
    return options;
  }

  std::size_t page_size_;

 public:
  kept_source source;

 private:
  any_pager pager_;

 public:
  paged_memory memory;
  std::vector<std::byte> now;  // what it should have
};

// What is lacking for snapshots of it.
inline std::string snapshots_of(const saved_paging& kind, std::size_t pages) {
  auto lacking = kernel_faults();
  if (lacking.empty()) lacking = kernel_has(feature::pagefault_flag_wp);
  if (kind.backing != page_backing::huge || !lacking.empty()) return lacking;
  lacking = kernel_has(feature::missing_hugetlbfs | feature::wp_hugetlbfs_shmem);
  return lacking.empty() ? huge_pages(pages) : lacking;
}

// Has such memory.
class saved_paging_test : public testing::TestWithParam<saved_paging> {
 protected:
  static constexpr std::size_t pages = 8;

  void SetUp() override {
    UFFDPP_REQUIRE(snapshots_of(GetParam(), pages));
    memory_.emplace(GetParam(), pages);
  }
  saved_paged_memory& memory() { return *memory_; }
  pictured pictures(const snapshot_options& options = {}) {
    return pictures_of(memory().memory, options);
  }

 private:
  std::optional<saved_paged_memory> memory_;
};

}  // namespace uffd::test

// Runs the tests of a suite with each of them.
#define UFFDPP_FOR_EVERY_SAVED_PAGING(suite)                                                  \
  INSTANTIATE_TEST_SUITE_P(                                                                   \
      , suite,                                                                                \
      testing::Values(test::saved_paging{test::pager_kind::own_threads},                      \
                      test::saved_paging{test::pager_kind::shared_handler},                   \
                      test::saved_paging{test::pager_kind::own_threads, page_backing::huge}), \
      [](const auto& of) { return test::name_of(of.param); })
