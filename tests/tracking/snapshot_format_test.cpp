// SPDX-License-Identifier: MIT
#include "tracking/snapshot_format.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <system_error>
#include <vector>

namespace uffd::detail {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t place_of_areas = 68;

struct encoded {
  encoded() {
    header.identity.bytes[0] = 1;
    header.block = page;
    header.areas = {{{page, 2 * page}, page}};
    const auto layout = *snapshot_layout::of(header.block, header.areas);
    size = layout.file_size();
    front = encode_snapshot_header(header, layout);
  }

  snapshot_header header;
  std::uint64_t size = 0;
  std::vector<std::byte> front;
};

// With a checksum that is right: it was written so.
void set_areas(std::vector<std::byte>& front, std::uint32_t areas) {
  for (std::size_t i = 0; i < 4; ++i)
    front[place_of_areas + i] = static_cast<std::byte>(areas >> (8 * i));
  const auto sum = snapshot_header_checksum(front);
  for (std::size_t i = 0; i < 8; ++i)
    front[snapshot_checksum_offset + i] = static_cast<std::byte>(sum >> (8 * i));
}

std::error_code decoded(std::span<const std::byte> front, std::uint64_t size) {
  snapshot_header header;
  return decode_snapshot_header(front, size, header);
}

TEST(snapshot_format, is_decoded_as_it_was_encoded) {
  const encoded file;
  snapshot_header header;
  ASSERT_FALSE(decode_snapshot_header(file.front, file.size, header));
  EXPECT_EQ(header.identity, file.header.identity);
  EXPECT_EQ(header.block, page);
  EXPECT_TRUE(have_same_pages(header.areas, file.header.areas));
}

// As if the file had been changed between the two reads.
TEST(snapshot_format, of_more_areas_than_were_read_is_refused) {
  encoded file;
  for (const std::uint32_t areas : {0U, 2U, 89U, 90U, 65'536U, 65'537U, ~0U}) {
    set_areas(file.front, areas);
    EXPECT_EQ(decoded(file.front, file.size), snapshot_error::damaged) << areas;
  }
  set_areas(file.front, 1);
  EXPECT_FALSE(decoded(file.front, file.size));
}

TEST(snapshot_format, of_which_less_was_read_is_refused) {
  const encoded file;
  const std::span<const std::byte> front(file.front);
  for (const std::size_t size :
       std::initializer_list<std::size_t>{0, 1, snapshot_header_size, front.size() - 1})
    EXPECT_EQ(decoded(front.first(size), file.size), snapshot_error::damaged) << size;
}

}  // namespace
}  // namespace uffd::detail
