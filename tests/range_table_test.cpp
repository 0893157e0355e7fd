// SPDX-License-Identifier: MIT
#include "uffd/range_table.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <map>
#include <ostream>
#include <random>

#include "support/operations.hpp"

namespace uffd {
namespace {

std::array<int, 4> clients;
void* const a = &clients[0];
void* const b = &clients[1];

page_range pages(std::uintptr_t first, std::size_t count) { return {first << 12, count << 12}; }
std::uintptr_t at(std::uintptr_t page) { return page << 12; }

// What a table says of a page: whose it is, which of that range's pages, and whether it was
// dropped.
struct whose {
  void* client = nullptr;
  std::size_t page = 0;
  bool removed = false;

  friend bool operator==(const whose&, const whose&) = default;
  friend std::ostream& operator<<(std::ostream& out, const whose& one) {
    return out << one.client << " page " << one.page << (one.removed ? ", removed" : "");
  }
};
const whose nobodys;
whose of(void* client, std::size_t page) { return {client, page, false}; }
whose dropped(void* client, std::size_t page) { return {client, page, true}; }

whose says(const range_table& table, std::uintptr_t page) {
  const auto* found = table.find(at(page));
  if (found == nullptr) return nobodys;
  return {found->client, (found->offset + at(page) - found->range.begin()) >> 12, found->removed};
}

TEST(range_table, finds_an_address_in_its_range_and_none_beside_it) {
  range_table table;
  EXPECT_EQ(table.find(at(10)), nullptr);
  table.insert(pages(10, 2), a);
  EXPECT_EQ(table.find(at(10) - 1), nullptr);
  EXPECT_EQ(says(table, 10), of(a, 0));
  EXPECT_EQ(says(table, 11), of(a, 1));
  ASSERT_NE(table.find(at(12) - 1), nullptr);
  EXPECT_EQ(table.find(at(12)), nullptr);
}

TEST(range_table, keeps_neighbours_apart_and_sorted) {
  range_table table;
  table.insert(pages(20, 5), b);
  table.insert(pages(10, 10), a);
  EXPECT_EQ(says(table, 19), of(a, 9));
  EXPECT_EQ(says(table, 20), of(b, 0));
  ASSERT_EQ(table.entries().size(), 2U);
  EXPECT_EQ(table.entries().front().client, a);
}

TEST(range_table, refuses_overlaps_with_EEXIST_and_stays_as_it_is) {
  range_table table;
  table.insert(pages(10, 4), a);
  for (const auto range : {pages(10, 4), pages(9, 2), pages(13, 1), pages(11, 1), pages(5, 20)})
    EXPECT_EQ(test::thrown([&] { table.insert(range, b); }), EEXIST) << to_string(range);
  EXPECT_EQ(table.entries().size(), 1U);
}

TEST(range_table, refuses_what_is_no_range_with_EINVAL) {
  range_table table;
  EXPECT_EQ(test::thrown([&] { table.insert(pages(10, 0), a); }), EINVAL);
  EXPECT_EQ(test::thrown([&] { table.insert({~std::uintptr_t{0} - 10, 4096}, a); }), EINVAL);
}

TEST(range_table, inserts_with_an_offset) {
  range_table table;
  table.insert(pages(10, 4), a, at(7));
  EXPECT_EQ(says(table, 12), of(a, 9));
}

TEST(range_table, falls_in_two_when_its_middle_is_erased) {
  range_table table;
  table.insert(pages(10, 10), a);
  table.apply(unmap_event{pages(13, 2)});
  EXPECT_EQ(says(table, 12), of(a, 2));
  EXPECT_EQ(says(table, 13), nobodys);
  EXPECT_EQ(says(table, 14), nobodys);
  EXPECT_EQ(says(table, 15), of(a, 5));
  EXPECT_EQ(table.entries().size(), 2U);
}

TEST(range_table, erases_across_several_pieces) {
  range_table table;
  table.insert(pages(10, 4), a);
  table.insert(pages(20, 4), b);
  table.erase(pages(12, 10));
  EXPECT_EQ(says(table, 11), of(a, 1));
  EXPECT_EQ(says(table, 12), nobodys);
  EXPECT_EQ(says(table, 21), nobodys);
  EXPECT_EQ(says(table, 22), of(b, 2));
  table.erase(pages(0, 1000));
  EXPECT_TRUE(table.entries().empty());
}

TEST(range_table, erases_all_pieces_of_a_client) {
  range_table table;
  table.insert(pages(10, 4), a);
  table.insert(pages(20, 4), b);
  table.insert(pages(30, 4), a);
  table.erase_client(a);
  EXPECT_EQ(says(table, 10), nobodys);
  EXPECT_EQ(says(table, 30), nobodys);
  EXPECT_EQ(says(table, 20), of(b, 0));
}

TEST(range_table, keeps_offsets_when_it_is_moved) {
  range_table table;
  table.insert(pages(10, 10), a);
  table.apply(remap_event{pages(12, 4), at(50)});
  EXPECT_EQ(says(table, 11), of(a, 1));
  EXPECT_EQ(says(table, 12), nobodys);
  EXPECT_EQ(says(table, 50), of(a, 2));
  EXPECT_EQ(says(table, 53), of(a, 5));
  EXPECT_EQ(says(table, 54), nobodys);
  EXPECT_EQ(says(table, 16), of(a, 6));
}

TEST(range_table, keeps_what_was_moved_away_until_it_is_unmapped) {
  range_table table;
  table.insert(pages(10, 10), a);
  table.apply(remap_event{pages(12, 4), at(50)}, true);
  EXPECT_EQ(says(table, 12), dropped(a, 2)) << "nothing is left there";
  EXPECT_EQ(says(table, 50), of(a, 2));
  table.apply(unmap_event{pages(12, 4)});
  EXPECT_EQ(says(table, 12), nobodys);
  EXPECT_EQ(says(table, 50), of(a, 2));
}

TEST(range_table, replaces_what_was_where_it_is_moved_to) {
  range_table table;
  table.insert(pages(10, 4), a);
  table.insert(pages(20, 8), b);
  table.apply(remap_event{pages(10, 4), at(22)});
  EXPECT_EQ(says(table, 10), nobodys);
  EXPECT_EQ(says(table, 21), of(b, 1));
  EXPECT_EQ(says(table, 22), of(a, 0));
  EXPECT_EQ(says(table, 26), of(b, 6));
}

TEST(range_table, moves_what_overlaps_its_own_target) {
  range_table table;
  table.insert(pages(10, 4), a);
  table.apply(remap_event{pages(10, 4), at(12)});
  EXPECT_EQ(says(table, 11), nobodys);
  EXPECT_EQ(says(table, 12), of(a, 0));
  EXPECT_EQ(says(table, 15), of(a, 3));
}

TEST(range_table, remembers_what_was_dropped) {
  range_table table;
  table.insert(pages(10, 10), a);
  table.apply(remove_event{pages(12, 3)});
  EXPECT_EQ(says(table, 11), of(a, 1));
  EXPECT_EQ(says(table, 12), dropped(a, 2));
  EXPECT_EQ(says(table, 14), dropped(a, 4));
  EXPECT_EQ(says(table, 15), of(a, 5));
  table.apply(remap_event{pages(14, 2), at(30)});
  EXPECT_EQ(says(table, 30), dropped(a, 4)) << "it was so before it moved";
  EXPECT_EQ(says(table, 31), of(a, 5));
}

TEST(range_table, drops_across_several_ranges_and_none) {
  range_table table;
  table.insert(pages(10, 4), a);
  table.insert(pages(20, 4), b);
  table.apply(remove_event{pages(12, 10)});
  EXPECT_EQ(says(table, 13), dropped(a, 3));
  EXPECT_EQ(says(table, 15), nobodys);
  EXPECT_EQ(says(table, 21), dropped(b, 1));
  EXPECT_EQ(says(table, 22), of(b, 2));
}

TEST(range_table, holds_one_piece_of_what_was_dropped_page_by_page) {
  range_table table;
  table.insert(pages(10, 10), a);
  for (const std::uintptr_t page : {13U, 11U, 12U, 14U}) table.apply(remove_event{pages(page, 1)});
  EXPECT_EQ(table.entries().size(), 3U);
  table.apply(remove_event{pages(0, 100)});
  EXPECT_EQ(table.entries().size(), 1U);
}

TEST(range_table, keeps_dropped_neighbours_of_other_ranges_apart) {
  range_table table;
  table.insert(pages(10, 4), a);
  table.insert(pages(14, 4), b);
  table.insert(pages(18, 4), b);
  table.apply(remove_event{pages(10, 12)});
  EXPECT_EQ(table.entries().size(), 3U);
  EXPECT_EQ(says(table, 18), dropped(b, 0));
}

TEST(range_table, copies_are_independent) {
  range_table table;
  table.insert(pages(10, 4), a);
  range_table child = table;
  table.erase_client(a);
  EXPECT_EQ(says(child, 11), of(a, 1));
}

// Against a model that knows each page by itself.
class model {
 public:
  bool insert(std::uintptr_t first, std::size_t count, void* client) {
    for (auto page = first; page < first + count; ++page)
      if (pages_.contains(page)) return false;
    for (std::size_t i = 0; i < count; ++i) pages_[first + i] = {client, i, false};
    return true;
  }
  void drop(std::uintptr_t first, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      if (const auto found = pages_.find(first + i); found != pages_.end())
        found->second.removed = true;
  }
  void erase(std::uintptr_t first, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) pages_.erase(first + i);
  }
  void erase_client(void* client) {
    std::erase_if(pages_, [&](const auto& page) { return page.second.client == client; });
  }
  void move(std::uintptr_t from, std::size_t count, std::uintptr_t to) {
    std::map<std::uintptr_t, whose> moved;
    for (std::size_t i = 0; i < count; ++i)
      if (const auto found = pages_.find(from + i); found != pages_.end())
        moved[to + i] = found->second;
    erase(from, count);
    erase(to, count);
    for (const auto& [page, what] : moved) pages_[page] = what;
  }
  whose says(std::uintptr_t page) const {
    const auto found = pages_.find(page);
    return found == pages_.end() ? nobodys : found->second;
  }

 private:
  std::map<std::uintptr_t, whose> pages_;
};

TEST(range_table, agrees_with_a_table_of_single_pages) {
  constexpr std::uintptr_t space = 64;
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t limit) {
      return static_cast<std::size_t>(random()) % limit;
    };
    range_table table;
    model expected;
    for (int step = 0; step < 300; ++step) {
      const auto first = 1 + below(space - 12);
      const auto count = 1 + below(12);
      void* const client = &clients[below(clients.size())];
      switch (below(9)) {
        case 0:
          table.apply(unmap_event{pages(first, count)});
          expected.erase(first, count);
          break;
        case 1: {
          const auto to = 1 + below(space - 12);
          table.apply(remap_event{pages(first, count), at(to)});
          expected.move(first, count, to);
          break;
        }
        case 2:
          table.apply(remove_event{pages(first, count)});
          expected.drop(first, count);
          break;
        case 3:
          if (below(8) != 0) break;
          table.erase_client(client);
          expected.erase_client(client);
          break;
        default: {
          const bool fits = expected.insert(first, count, client);
          ASSERT_EQ(test::thrown([&] { table.insert(pages(first, count), client); }),
                    fits ? 0 : EEXIST);
        }
      }
      for (std::uintptr_t page = 0; page < space + 12; ++page)
        ASSERT_EQ(says(table, page), expected.says(page))
            << "page " << page << ", seed " << seed << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace uffd
