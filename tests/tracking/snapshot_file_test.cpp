// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot_file.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/refusal.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"
#include "tracking/block_checksum.hpp"

namespace uffd {
namespace {

using test::bytes;

bytes read_all(const snapshot_file& file, std::size_t area) {
  bytes all(file.areas()[area].range.size(), std::byte{0x55});
  const auto done = file.read(area, 0, all);
  EXPECT_FALSE(done.error) << done.error.message();
  EXPECT_EQ(done.bytes, all.size());
  return all;
}

template <class Number>
Number number_at(const std::string& content, std::size_t offset) {
  Number number = 0;
  for (std::size_t i = sizeof number; i-- > 0;)
    number = static_cast<Number>(number << 8U) | static_cast<std::uint8_t>(content[offset + i]);
  return number;
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(snapshot_file, has_what_was_saved) {
  const test::scratch_folder folder;
  const std::vector<bytes> memory{test::some_memory(), test::random_pages(600, 2)};
  const auto file = test::save(folder / "one", memory);
  EXPECT_EQ(read_all(file, 0), memory[0]);
  EXPECT_EQ(read_all(file, 1), memory[1]);
  ASSERT_EQ(file.areas().size(), 2U);
  EXPECT_EQ(file.areas()[1].range, test::areas_of(memory)[1].range);
  EXPECT_EQ(file.areas()[1].page_size, page_size());
  EXPECT_EQ(file.saved_bytes(), 602 * page_size());
  EXPECT_EQ(file.base(), std::nullopt);
  EXPECT_EQ(file.base_name(), "");
  file.verify();
}

TEST(snapshot_file, reads_any_part) {
  const test::scratch_folder folder;
  const auto memory = test::some_memory();
  const auto file = test::save(folder / "one", memory);
  const auto page = page_size();
  for (const std::size_t offset : {std::size_t{0}, std::size_t{1}, page - 1, page, 2 * page + 513})
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, page, page + 2, 2 * page - 600}) {
      if (offset + size > memory.size()) continue;
      bytes part(size, std::byte{0x55});
      const auto done = file.read(0, offset, part);
      ASSERT_FALSE(done.error) << offset << " " << size << done.error.message();
      ASSERT_TRUE(std::equal(part.begin(), part.end(),
                             memory.begin() + static_cast<std::ptrdiff_t>(offset)))
          << offset << " " << size;
    }
}

TEST(snapshot_file, refuses_to_read_what_it_has_not) {
  const test::scratch_folder folder;
  const auto file = test::save(folder / "one", test::some_memory());
  bytes part(page_size());
  EXPECT_EQ(file.read(1, 0, part).error, std::errc::invalid_argument);
  EXPECT_EQ(file.read(0, 3 * page_size() + 1, part).error, std::errc::invalid_argument);
  EXPECT_EQ(file.read(0, ~std::size_t{0}, part).error, std::errc::invalid_argument);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(file.run_at(0, 4 * page_size())); }), EINVAL);
  EXPECT_EQ(test::thrown([&] { static_cast<void>(file.data_offset(1)); }), EINVAL);
}

TEST(snapshot_file, tells_what_it_has) {
  const test::scratch_folder folder;
  const auto page = page_size();
  auto memory = test::some_memory();
  const auto base = test::save(folder / "one", memory);
  const auto delta = test::save_pages(folder / "two", base, memory, {1, 2});
  const auto runs_of = [](const snapshot_file& file) {
    std::vector<snapshot_run> runs;
    file.each_run(0, [&](const snapshot_run& run) { runs.push_back(run); });
    return runs;
  };
  using enum snapshot_content;
  EXPECT_EQ(
      runs_of(base),
      (std::vector<snapshot_run>{
          {0, page, saved}, {page, page, zero}, {2 * page, page, saved}, {3 * page, page, zero}}));
  EXPECT_EQ(runs_of(delta), (std::vector<snapshot_run>{{0, page, inherited},
                                                       {page, page, zero},
                                                       {2 * page, page, saved},
                                                       {3 * page, page, inherited}}));
  EXPECT_EQ(delta.base(), base.identity());
  EXPECT_EQ(delta.base_name(), "one");
  EXPECT_NE(delta.identity(), base.identity());
  bytes part(2 * page);
  const auto done = delta.read(0, 2 * page, part);
  EXPECT_EQ(done.bytes, page);
  EXPECT_EQ(done.error, snapshot_error::no_base);
}

TEST(snapshot_file, keeps_huge_pages_in_small_pieces) {
  const test::scratch_folder folder;
  constexpr std::size_t huge = std::size_t{2} << 20;
  std::vector<bytes> memory{bytes(2 * huge)};
  for (std::size_t i = 0; i < page_size(); ++i)
    memory[0][huge + 3 * page_size() + i] = std::byte{7};
  const auto file = test::save(folder / "one", memory, huge);
  EXPECT_EQ(file.saved_bytes(), page_size());
  EXPECT_EQ(file.data_offset(0) % huge, 0U);
  EXPECT_EQ(file.areas()[0].page_size, huge);
  EXPECT_EQ(read_all(file, 0), memory[0]);
  EXPECT_EQ(file.run_at(0, huge + 3 * page_size()).size, page_size());
}

TEST(snapshot_file, has_its_pages_where_they_can_be_mapped) {
  const test::scratch_folder folder;
  const std::vector<bytes> memory{test::some_memory(), test::random_pages(2, 3)};
  const auto file = test::save(folder / "one", memory);
  for (std::size_t area = 0; area < 2; ++area) {
    const auto size = memory[area].size();
    void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(),
                                static_cast<off_t>(file.data_offset(area)));
    ASSERT_NE(mapped, MAP_FAILED);
    EXPECT_EQ(std::memcmp(mapped, memory[area].data(), size), 0);
    ::munmap(mapped, size);
  }
}

TEST(snapshot_file, has_the_format_that_is_documented) {
  const test::scratch_folder folder;
  const auto page = page_size();
  auto memory = test::some_memory();
  const auto base = test::save(folder / "the base", memory);
  const auto file = test::save_pages(folder / "two", base, memory, {1, 2});
  const auto all = content_of(folder / "two");
  const auto identity = [&](std::size_t offset) {
    snapshot_identity found;
    std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(offset), 16, found.bytes.begin());
    return found;
  };
  EXPECT_EQ(all.substr(0, 8), "uffdsnap");
  EXPECT_EQ(number_at<std::uint32_t>(all, 8), 1U);
  EXPECT_EQ(number_at<std::uint64_t>(all, 24), all.size());
  EXPECT_EQ(identity(32), file.identity());
  EXPECT_EQ(identity(48), base.identity());
  EXPECT_EQ(number_at<std::uint32_t>(all, 64), page);
  EXPECT_EQ(number_at<std::uint32_t>(all, 68), 1U);
  EXPECT_EQ(number_at<std::uint32_t>(all, 72), 8U);
  EXPECT_EQ(all.substr(256, 9), std::string("the base\0", 9));
  EXPECT_EQ(number_at<std::uint64_t>(all, 512), file.areas()[0].range.begin());
  EXPECT_EQ(number_at<std::uint64_t>(all, 520), 4 * page);
  EXPECT_EQ(number_at<std::uint64_t>(all, 528), page);
  const auto data = number_at<std::uint64_t>(all, 536);
  const auto index = number_at<std::uint64_t>(all, 544);
  EXPECT_EQ(data, file.data_offset(0));
  EXPECT_EQ(index, 4096U);
  EXPECT_EQ(number_at<std::uint64_t>(all, index), 0U);
  EXPECT_EQ(number_at<std::uint64_t>(all, index + 8), 1U);
  const auto text = std::as_bytes(std::span(all));
  EXPECT_EQ(number_at<std::uint64_t>(all, index + 16),
            detail::checksum_of(text.subspan(data + 2 * page, page)));
  EXPECT_EQ(number_at<std::uint64_t>(all, index + 4088),
            detail::checksum_of(text.subspan(index, 4088), number_at<std::uint64_t>(all, 32)));
}

TEST(snapshot_file, is_read_by_several_threads) {
  const test::scratch_folder folder;
  const auto memory = test::random_pages(64, 1);
  const auto file = test::save(folder / "one", memory);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([copy = file, &memory] {
      for (int turn = 0; turn < 20; ++turn) EXPECT_EQ(read_all(copy, 0), memory);
    });
}

TEST(snapshot_file, has_an_identity_in_words) {
  snapshot_identity identity;
  identity.bytes[0] = 0x1f;
  identity.bytes[15] = 0xa0;
  EXPECT_EQ(to_string(identity), "1f0000000000000000000000000000a0");
}

}  // namespace
}  // namespace uffd
