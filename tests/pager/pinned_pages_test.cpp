// SPDX-License-Identifier: MIT
// Pins that begin and end while their pages are on their way elsewhere.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "support/awaited.hpp"
#include "support/background.hpp"
#include "support/page_sources.hpp"
#include "support/paging.hpp"
#include "support/sight.hpp"

namespace uffd {
namespace {

const std::size_t page = page_size();

map_options written_back() {
  map_options options;
  options.writes = write_policy::write_back;
  return options;
}

test::sight write_to(const paged_memory& memory, std::size_t offset, int value) {
  return test::try_write(test::address_of(memory.bytes()[offset]), value);
}

bool is_there(std::span<const std::byte> one_page) {
  unsigned char there = 0;
  return ::mincore(const_cast<std::byte*>(one_page.data()), page, &there) == 0 && (there & 1) != 0;
}

// Takes what it has to write at once, and writes it when it may: as what sends it somewhere does.
class slow_source {
 public:
  explicit slow_source(std::size_t bytes) : kept_(bytes) {}

  std::uint64_t size() const noexcept { return kept_.size(); }
  read_result read(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    return kept_.read(offset, to);
  }
  // The first one, of the page at 0, waits.
  std::error_code write(std::uint64_t offset, std::span<const std::byte> from) {
    if (offset != 0 || has_begun_.exchange(true)) return kept_.write(offset, from);
    const std::vector<std::byte> taken(from.begin(), from.end());
    writes.set();
    EXPECT_TRUE(goes_on.comes());
    return kept_.write(offset, taken);
  }
  int first_byte() const { return std::to_integer<int>(kept_.at(0)); }

  test::signal writes;
  test::signal goes_on;

 private:
  test::kept_source kept_;
  std::atomic<bool> has_begun_{false};
};

class pinned_pages_of : public test::every_pager {};
UFFDPP_FOR_EVERY_PAGER(pinned_pages_of);

TEST_P(pinned_pages_of, are_not_overwritten_in_the_source_by_an_earlier_flush) {
  slow_source source(page);
  const test::any_pager pager(GetParam());
  const auto memory = pager->map(std::ref(source), written_back());
  std::optional<pinned_pages> pinned(memory.pin(memory.bytes(), pin_access::write));
  ASSERT_EQ(write_to(memory, 0, 1), test::shows(1));
  {
    test::background earlier([&] { EXPECT_FALSE(memory.flush()); });
    ASSERT_TRUE(source.writes.comes());
    ASSERT_EQ(write_to(memory, 0, 2), test::shows(2));
    pinned.reset();
    test::background later([&] {
      EXPECT_FALSE(memory.flush());
      EXPECT_EQ(source.first_byte(), 2);
    });
    static_cast<void>(later.finishes(test::moment));
    source.goes_on.set();
  }
  EXPECT_FALSE(memory.flush());
  EXPECT_EQ(source.first_byte(), 2);
}

TEST_P(pinned_pages_of, stay_though_they_were_to_leave_once_they_are_written_back) {
  constexpr std::size_t pages = 512;
  slow_source source(pages * page);
  pager_options how;
  how.budget = memory_budget(64 * page);
  how.threads = 2;
  const test::any_pager pager(GetParam(), how);
  const auto memory = pager->map(std::ref(source), written_back());
  memory.advise(access_pattern::random);
  ASSERT_EQ(write_to(memory, 0, 1), test::shows(1));
  // Until it is evicted.
  for (std::size_t number = 1; !source.writes.comes(std::chrono::milliseconds(0));
       number = number % (pages - 1) + 1)
    ASSERT_EQ(test::look_at(memory, number * page), test::shows_source(number * page));
  std::optional<pinned_pages> pinned;
  test::background pinning([&] { pinned.emplace(memory.pin(memory.bytes().first(page))); });
  static_cast<void>(pinning.finishes(test::moment));
  source.goes_on.set();
  ASSERT_TRUE(pinning.finishes());
  for (std::size_t number = 1; number < pages; ++number)
    ASSERT_EQ(test::look_at(memory, number * page), test::shows_source(number * page));
  EXPECT_TRUE(is_there(pinned->bytes()));
  EXPECT_EQ(test::look_at(memory, 0), test::shows(1));
  pinned.reset();
}

}  // namespace
}  // namespace uffd
