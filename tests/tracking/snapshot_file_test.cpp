// SPDX-License-Identifier: MIT
#include "uffd/tracking/snapshot_file.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/refusal.hpp"
#include "support/resident.hpp"
#include "support/sanitizers.hpp"
#include "support/scratch_folder.hpp"
#include "support/snapshots.hpp"
#include "tracking/block_checksum.hpp"
#include "tracking/snapshot_format.hpp"

namespace uffd {
namespace {

using test::bytes;

// Of what is tried byte by byte; with it, a file takes hundreds of times as long to be checked.
constexpr std::uint64_t stride = test::thread_sanitizer ? 13 : 1;

// Pages that were saved, zeroes, saved, zeroes.
bytes some_memory() {
  auto memory = test::random_pages(4, 1);
  test::clear_page(memory, 1);
  test::clear_page(memory, 3);
  return memory;
}

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

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}
std::string content_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(snapshot_file, has_what_was_saved) {
  const test::scratch_folder folder;
  const std::vector<bytes> memory{some_memory(), test::random_pages(600, 2)};
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
  const auto memory = some_memory();
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
  const auto file = test::save(folder / "one", some_memory());
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
  auto memory = some_memory();
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
  const std::vector<bytes> memory{some_memory(), test::random_pages(2, 3)};
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
  auto memory = some_memory();
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

TEST(snapshot_file, that_is_none_is_refused) {
  const test::scratch_folder folder;
  EXPECT_EQ(test::refused(folder / "nothing"), std::errc::no_such_file_or_directory);
  EXPECT_EQ(test::refused(folder.path()), std::errc::is_a_directory);
  EXPECT_EQ(test::refused("/dev/null"), std::errc::invalid_seek);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(test::refused(folder / "pipe"), std::errc::invalid_seek) << "without waiting";
  for (const auto* const text : {"", "u", "some text", "uffdsnap0"}) {
    write_file(folder / "text", text);
    EXPECT_EQ(test::refused(folder / "text"), std::string_view("uffdsnap0").starts_with(text)
                                                  ? snapshot_error::truncated
                                                  : snapshot_error::foreign)
        << text;
  }
  for (const std::size_t zeroes : std::initializer_list<std::size_t>{1, 511, 512, 100'000}) {
    write_file(folder / "zeroes", std::string(zeroes, '\0'));
    EXPECT_EQ(test::refused(folder / "zeroes"), snapshot_error::incomplete) << zeroes;
  }
}

TEST(snapshot_file, of_another_format_is_named) {
  const test::scratch_folder folder;
  static_cast<void>(test::save(folder / "one", some_memory()));
  const test::victim file(folder / "one");
  file.set(8, std::byte{2});
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::unknown_version);
  const auto words =
      test::complaint([&] { static_cast<void>(snapshot_file::open(folder / "one")); });
  EXPECT_NE(words.find((folder / "one").string()), words.npos) << words;
  file.set(8, std::byte{1});
  EXPECT_FALSE(test::refused(folder / "one"));
  file.set(76, std::byte{1});  // a flag
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::unknown_version);
  file.set(76, std::byte{0});
  file.set(12, file.get(12) ^ std::byte{3});
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::other_byte_order);
}

TEST(snapshot_file, with_any_changed_byte_before_its_pages_is_refused) {
  const test::scratch_folder folder;
  const auto saved = test::save(folder / "one", some_memory());
  const test::victim file(folder / "one");
  for (std::uint64_t i = 0; i < saved.data_offset(0); i += stride) {
    file.flip(i);
    const auto error = test::refused(folder / "one");
    ASSERT_EQ(error.category(), make_error_code(snapshot_error::damaged).category()) << i;
    if (i >= 512) {
      ASSERT_EQ(error, snapshot_error::damaged) << i;
    }
    file.flip(i);
  }
  EXPECT_FALSE(test::refused(folder / "one"));
}

TEST(snapshot_file, of_any_other_length_is_refused) {
  const test::scratch_folder folder;
  static_cast<void>(test::save(folder / "one", test::random_pages(2, 1)));
  const test::victim file(folder / "one");
  const auto size = file.size();
  file.resize(size + 1);
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::damaged);
  for (auto length = size - 1; length < size; length -= stride) {
    file.resize(length);
    ASSERT_EQ(test::refused(folder / "one"), snapshot_error::truncated) << length;
  }
}

TEST(snapshot_file, names_a_page_that_was_changed) {
  const test::scratch_folder folder;
  const auto page = page_size();
  const std::vector<bytes> memory{some_memory(), test::random_pages(300, 2)};
  const auto file = test::save(folder / "one", memory);
  test::victim(folder / "one").flip(file.data_offset(1) + 200 * page + 5);
  EXPECT_FALSE(test::refused(folder / "one")) << "not looked at yet";
  bytes part(memory[1].size());
  auto done = file.read(1, 0, part);
  EXPECT_EQ(done.error, snapshot_error::damaged);
  EXPECT_EQ(done.bytes, 200 * page);
  done = file.read(1, 200 * page + 100, std::span(part).first(10));
  EXPECT_EQ(done.error, snapshot_error::damaged) << "nor is a part of it given";
  EXPECT_FALSE(file.read(1, 201 * page, std::span(part).first(99 * page)).error);
  const auto refusal = test::refusal_of([&] { file.verify(); });
  EXPECT_TRUE(refusal.names((folder / "one").string())) << refusal.words;
  EXPECT_TRUE(refusal.names("area 1, offset " + detail::hexadecimal(200 * page))) << refusal.words;
  EXPECT_EQ(refusal.number, static_cast<int>(snapshot_error::damaged));
}

TEST(snapshot_file, with_any_changed_byte_of_its_pages_is_not_verified) {
  const test::scratch_folder folder;
  const auto saved = test::save(folder / "one", some_memory());
  const test::victim file(folder / "one");
  for (std::uint64_t i = 0; i < page_size(); i += 7 * stride) {
    file.flip(saved.data_offset(0) + i);
    ASSERT_EQ(test::error_of([&] { saved.verify(); }), snapshot_error::damaged) << i;
    file.flip(saved.data_offset(0) + i);
  }
  saved.verify();
}

TEST(snapshot_file, that_is_cut_off_while_it_is_open_says_so) {
  const test::scratch_folder folder;
  const auto file = test::save(folder / "one", test::random_pages(2, 1));
  test::victim(folder / "one").resize(file.data_offset(0) + page_size() + 1);
  bytes part(2 * page_size());
  EXPECT_EQ(file.read(0, 0, part).error, snapshot_error::truncated);
  EXPECT_FALSE(file.read(0, 0, std::span(part).first(page_size())).error);
}

// An index that would take gigabytes, and of which the file has nothing.
TEST(snapshot_file, that_promises_much_takes_no_memory) {
  const test::scratch_folder folder;
  detail::snapshot_header header;
  header.identity.bytes[0] = 1;
  header.block = 4096;
  header.areas = {{{std::uintptr_t{1} << 40, std::size_t{1} << 40}, 4096}};
  const auto layout = detail::snapshot_layout::of(header.block, header.areas);
  ASSERT_TRUE(layout.has_value());
  const auto front = detail::encode_snapshot_header(header, *layout);
  write_file(folder / "one", {reinterpret_cast<const char*>(front.data()), front.size()});
  test::victim(folder / "one").resize(layout->file_size());
  const auto before = test::resident_bytes();
  EXPECT_EQ(test::refused(folder / "one"), snapshot_error::damaged);
  EXPECT_LT(test::resident_bytes(), before + (std::size_t{8} << 20));
}

TEST(snapshot_file, whose_areas_are_none_is_refused) {
  const test::scratch_folder folder;
  const auto page = std::size_t{4096};
  const auto with = [&](page_range range, std::size_t page_size) {
    detail::snapshot_header header;
    header.identity.bytes[0] = 1;
    header.block = page;
    header.areas = {{range, page_size}};
    // Where all lies is left to be guessed: it is not looked at.
    const snapshot_area small{{page, page}, page};
    auto front = detail::encode_snapshot_header(
        header, *detail::snapshot_layout::of(page, std::span(&small, 1)));
    write_file(folder / "one", {reinterpret_cast<const char*>(front.data()), front.size()});
    test::victim(folder / "one").resize(3 * page);
    return test::refused(folder / "one");
  };
  EXPECT_EQ(with({0, 0}, page), snapshot_error::damaged);
  EXPECT_EQ(with({0, page}, 0), snapshot_error::damaged);
  EXPECT_EQ(with({0, page}, page / 2), snapshot_error::damaged);
  EXPECT_EQ(with({0, page + 1}, page), snapshot_error::damaged);
  EXPECT_EQ(with({1, page}, page), snapshot_error::damaged);
  EXPECT_EQ(with({0, ~std::size_t{0} - page + 1}, page), snapshot_error::damaged);
  EXPECT_EQ(with({~std::size_t{0} - page + 1, 2 * page}, page), snapshot_error::damaged);
  EXPECT_EQ(with({0, std::size_t{1} << 63U}, std::size_t{1} << 63U), snapshot_error::damaged);
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
