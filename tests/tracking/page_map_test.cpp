// SPDX-License-Identifier: MIT
#include "tracking/page_map.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/memory.hpp"
#include "support/page_flags.hpp"
#include "support/requires.hpp"
#include "support/sight.hpp"
#include "uffd/handle.hpp"
#include "uffd/mapping.hpp"
#include "uffd/region.hpp"

namespace uffd::detail {
namespace {

class page_map_by : public testing::TestWithParam<page_lookup> {
 protected:
  void SetUp() override {
    UFFDPP_REQUIRE(test::kernel_has(feature::pagefault_flag_wp));
    UFFDPP_REQUIRE(test::told_marks());
    on_.emplace(handle::open({.required = feature::pagefault_flag_wp}));
  }
  const handle& on() const { return *on_; }

 private:
  std::optional<handle> on_;
};

std::string name_of(page_lookup by) {
  if (by == page_lookup::scan) return "scan";
  return by == page_lookup::entries ? "entries" : "without_marks";
}
INSTANTIATE_TEST_SUITE_P(lookup, page_map_by,
                         testing::Values(page_lookup::scan, page_lookup::entries,
                                         page_lookup::entries_without_marks),
                         [](const auto& by) { return name_of(by.param); });

TEST_P(page_map_by, lookup_tells_what_is_there_and_what_is_marked) {
  const auto page = page_size();
  const auto memory = mapping::anonymous(6 * page);
  const auto at = [&](std::size_t index) { return memory.range().begin() + index * page; };
  for (const std::size_t index : {1U, 2U, 4U}) test::try_write(at(index), 1);
  region registered(on(), memory, register_mode::write_protect);
  registered.complete();
  ASSERT_TRUE(on().write_protect({at(2), 3 * page}));
  const page_map map(on(), GetParam());
  EXPECT_EQ(map.tells_marks(), GetParam() != page_lookup::entries_without_marks);
  std::vector<char> seen;
  std::uintptr_t position = at(0);
  EXPECT_EQ(map.for_each_run(memory.range(),
                             [&](const mapped_run& run) {
                               EXPECT_EQ(run.range.begin(), position);
                               EXPECT_EQ(run.is_present, run.is_there);
                               position = run.range.end();
                               const char what = run.is_marked ? 'm' : run.is_there ? 't' : '-';
                               seen.insert(seen.end(), run.range.size() / page, what);
                             }),
            0);
  EXPECT_EQ(position, memory.range().end());
  const std::string expected = map.tells_marks() ? "-tm-m-" : "-tt-t-";
  EXPECT_EQ(std::string(seen.begin(), seen.end()), expected);
}

TEST_P(page_map_by, lookup_goes_on_where_there_are_many_runs) {
  constexpr std::size_t pages = 1000;
  const auto memory = mapping::anonymous(pages * page_size());
  ASSERT_EQ(::madvise(memory.bytes().data(), memory.bytes().size(), MADV_NOHUGEPAGE), 0);
  for (std::size_t index = 0; index < pages; index += 2)
    test::try_write(memory.range().begin() + index * page_size(), 1);
  const page_map map(on(), GetParam());
  std::size_t there = 0;
  std::size_t bytes = 0;
  EXPECT_EQ(map.for_each_run(memory.range(),
                             [&](const mapped_run& run) {
                               bytes += run.range.size();
                               if (run.is_there) there += run.range.size() / page_size();
                             }),
            0);
  EXPECT_EQ(there, pages / 2);
  EXPECT_EQ(bytes, memory.range().size());
}

}  // namespace
}  // namespace uffd::detail
