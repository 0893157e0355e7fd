// SPDX-License-Identifier: MIT
// What tests of recording and of replaying have in common.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "uffd/page_range.hpp"
#include "uffd/pager/map_options.hpp"
#include "uffd/pager/paged_memory.hpp"
#include "uffd/pager/working_set.hpp"

namespace uffd::test {

using runs = std::vector<working_set::run>;

inline runs runs_of(const working_set& set) { return {set.runs().begin(), set.runs().end()}; }

// In pages, of a source that has that many.
inline working_set set_of(const runs& parts, std::uint64_t pages, const std::string& source = "") {
  runs bytes;
  for (const auto& part : parts)
    bytes.push_back({part.offset * page_size(), part.size * page_size()});
  return {source, pages * page_size(), page_size(), bytes};
}

// On a busy machine a thread may be kept from its read for seconds.
inline map_options patient() {
  map_options how;
  how.deadline = std::chrono::minutes(1);
  return how;
}

// A source that says what it is.
class named_source : public counted_source {
 public:
  named_source(std::string name, std::uint64_t bytes)
      : counted_source(bytes), name_(std::move(name)) {}
  std::string identity() const { return name_; }

 private:
  std::string name_;
};

inline void look_at_pages(const paged_memory& memory, std::initializer_list<std::size_t> numbers) {
  for (const auto number : numbers) {
    const auto offset = number * page_size() + 7;
    ASSERT_EQ(look_at(memory, offset), shows_source(offset));
  }
}

}  // namespace uffd::test
